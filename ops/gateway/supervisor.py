"""Run nginx and the guard together: both or none."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops.gateway.config import render_config
from ops.gateway.settings import GatewaySettings, GatewaySettingsError, settings_text

INSTALL_NGINX = "install nginx (Debian: apt-get install nginx)"
GUARD_TIMEOUT_S = 20.0
# Both together are less than the 60 s that deploy/compose/ gives the container.
NGINX_STOP_S = 32.0  # graceful: requests that run are answered
GUARD_STOP_S = 4.0
CHECK_TIMEOUT_S = 30.0  # `nginx -t` resolves the names of servers
RELOAD_TIMEOUT_S = 10.0
NGINX_PID = "nginx.pid"  # written by nginx once it listens
POLL_S = 0.2
MAX_RESTARTS = 5  # within RESTART_WINDOW_S; then starting again fixes nothing
RESTART_WINDOW_S = 60.0
_PR_SET_PDEATHSIG = 1  # Source: Linux, include/uapi/linux/prctl.h


class GatewayError(RuntimeError):
    """The gateway cannot run; the message says what to do."""


def find_nginx() -> str:
    """Return the program nginx.

    Raises:
        GatewayError: there is none.
    """
    # Debian keeps it where an ordinary user's PATH does not look.
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise GatewayError(f"there is no nginx; {INSTALL_NGINX}")
    return found


def check_config(config: Path) -> None:
    """Let nginx read a configuration.

    Raises:
        GatewayError: it refuses, with its words, or does not end.
    """
    command = [find_nginx(), "-t", "-q", "-p", str(config.parent), "-c", str(config)]
    try:
        result = subprocess.run(command, capture_output=True, check=False, timeout=CHECK_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise GatewayError(
            f"nginx has not checked its configuration within {CHECK_TIMEOUT_S:.0f} s; does a name of a server resolve?"
        ) from None
    if result.returncode:
        words = result.stderr.decode("utf-8", "replace").strip()
        raise GatewayError(f"nginx refuses its configuration: {words[-600:]}")


def check_settings(settings: GatewaySettings, root: Path) -> None:
    """Let nginx read what would be made of settings; nothing of a running gateway is touched.

    Raises:
        GatewayError: it refuses.
    """
    with tempfile.NamedTemporaryFile("w", dir=settings.run_folder, prefix="check-", encoding="utf-8") as file:
        file.write(render_config(settings, root))
        file.flush()
        check_config(Path(file.name))


@dataclass(frozen=True)
class Accepted:
    """What the two programs run with; a refused reload, or a full disk, never changes it.

    Args:
        folder: the run folder.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """What nginx reads, at its start and at a reload."""
        return self.folder / "nginx.conf"

    @property
    def settings(self) -> Path:
        """What the guard reads."""
        return self.folder / "settings.yaml"

    def read(self) -> dict[Path, str]:
        """Return both files, for `write`."""
        return {path: path.read_text(encoding="utf-8") for path in (self.config, self.settings)}

    def write(self, files: Mapping[Path, str], check: Callable[[Path], None] = lambda _: None) -> None:
        """Replace files once all of them are written and the first has passed its check.

        Raises:
            GatewayError: the check refuses; no file is changed.
            OSError: the disk is full, or the like; no file is changed.
        """
        new = {path: path.with_name(f"{path.name}.new") for path in files}
        try:
            for path, text in files.items():
                new[path].write_text(text, encoding="utf-8")
            check(new[self.config])
            for path, temporary in new.items():
                os.replace(temporary, path)
        finally:
            for temporary in new.values():
                temporary.unlink(missing_ok=True)

    def accept(self, settings: GatewaySettings, root: Path) -> None:
        """Make both files of settings that nginx takes. Raises as `write` does."""
        files = {self.config: render_config(settings, root), self.settings: settings_text(settings)}
        self.write(files, check_config)


class Supervisor:
    """Keep both programs running until told to stop.

    Args:
        load_settings: reads the settings file.
        root: of the repository.
    """

    def __init__(self, load_settings: Callable[[], GatewaySettings], root: Path) -> None:
        self._load_settings = load_settings
        self._root = root
        # Plain values: setting a `threading.Event` in a signal handler can deadlock with waiting for it.
        self._stopping = self._reloading = self._reopening = False
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: deque[float] = deque()
        self._run_folder = Path()

    def run(self) -> int:
        """Run until SIGTERM; return the exit status, 1 when a program would not stay up.

        SIGHUP takes new settings, SIGUSR1 lets nginx open its log files again.

        Raises:
            GatewayError: nginx or the guard cannot start.
            GatewaySettingsError: the settings cannot be used.
            OSError: the run folder cannot be written.
        """
        settings = self._load_settings()
        self._run_folder = settings.run_folder
        accepted = Accepted(self._run_folder)
        accepted.accept(settings, self._root)
        self._take_signals()
        settings.guard_socket.unlink(missing_ok=True)
        guard = [sys.executable, "-m", "ops.gateway.guard"]
        guard += ["--settings", str(accepted.settings), "--root", str(self._root)]
        commands = {"guard": guard, "nginx": [find_nginx(), "-p", str(self._run_folder), "-c", str(accepted.config)]}
        try:
            self._start("guard", commands["guard"])
            self._wait_for(settings.guard_socket)
            self._start("nginx", commands["nginx"])
            return self._watch(commands)
        finally:
            self._end("nginx", signal.SIGQUIT, NGINX_STOP_S)
            self._end("guard", signal.SIGTERM, GUARD_STOP_S)

    def _take_signals(self) -> None:
        def stop(*_: object) -> None:
            self._stopping = True

        def reload(*_: object) -> None:
            self._reloading = True

        def reopen(*_: object) -> None:
            self._reopening = True

        handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload, signal.SIGUSR1: reopen}
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def _watch(self, commands: dict[str, list[str]]) -> int:
        while not self._stopping:
            time.sleep(POLL_S)
            if self._reloading:
                self._reloading = False
                self._reload()
            if self._reopening:
                self._reopening = False
                self._children["nginx"].send_signal(signal.SIGUSR1)
            for name, child in list(self._children.items()):
                if child.poll() is None or self._stopping:
                    continue
                now = time.monotonic()
                self._restarts.append(now)
                while now - self._restarts[0] > RESTART_WINDOW_S:
                    self._restarts.popleft()
                if len(self._restarts) > MAX_RESTARTS:
                    print(f"gateway: {name} ended {len(self._restarts)} times in a minute; giving up", file=sys.stderr)
                    return 1
                print(f"gateway: {name} ended with {child.returncode}; starting it again", file=sys.stderr, flush=True)
                # nginx's workers outlive a killed master and hold its ports.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                self._start(name, commands[name])
        return 0

    def _reload(self) -> None:
        accepted = Accepted(self._run_folder)
        try:
            settings = self._load_settings()
            if settings.run_folder != self._run_folder:
                raise GatewayError("run_folder changes only by a stop and a start")
            before = accepted.read()
            accepted.accept(settings, self._root)
            if not self._nginx_takes_it():
                # Such as a port that another program holds: `nginx -t` does not see it.
                accepted.write(before)
                raise GatewayError("nginx goes on with what it had; its own line above says why")
        except (GatewayError, GatewaySettingsError, OSError) as error:
            print(f"gateway: the old settings stay: {error}", file=sys.stderr, flush=True)
            return
        self._children["guard"].send_signal(signal.SIGHUP)

    def _nginx_takes_it(self) -> bool:
        """Tell nginx to read its configuration again; return whether it started new workers."""
        master = self._children["nginx"]
        before = _children_of(master.pid)
        master.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        while not _children_of(master.pid) - before:
            if time.monotonic() > deadline or self._stopping or master.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def _start(self, name: str, command: list[str]) -> None:
        # A killed nginx leaves its sockets, and the next would find them taken.
        for left in (*self._run_folder.glob("inner*.sock"), self._run_folder / NGINX_PID) if name == "nginx" else ():
            left.unlink(missing_ok=True)
        self._children[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=functools.partial(_own_group, os.getpid())
        )

    def _wait_for(self, socket: Path) -> None:
        deadline = time.monotonic() + GUARD_TIMEOUT_S
        while not socket.exists():
            if self._children["guard"].poll() is not None or time.monotonic() > deadline:
                raise GatewayError("the guard does not start; its own line above says why")
            time.sleep(0.02)

    def _end(self, name: str, number: signal.Signals, timeout_s: float) -> None:
        child = self._children.get(name)
        if child is None or child.poll() is not None:
            return
        child.send_signal(number)
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # nginx with its workers
            child.wait()


def _children_of(pid: int) -> set[int]:
    with contextlib.suppress(psutil.Error):
        return {child.pid for child in psutil.Process(pid).children()}
    return set()


def _own_group(supervisor: int) -> None:
    """Lead a group of its own, and end when the supervisor is killed: nobody would restart or stop it any more."""
    os.setpgrp()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it was killed before the line above
        os._exit(1)
