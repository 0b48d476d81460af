"""Run nginx and the guard together: both or none."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from gateway_config import write_config
from gateway_settings import GatewaySettings, GatewaySettingsError

INSTALL_NGINX = "install nginx (Debian: apt-get install nginx)"
GUARD_TIMEOUT_S = 20.0
NGINX_STOP_S = 35.0  # graceful: requests that run are answered
GUARD_STOP_S = 5.0
POLL_S = 0.2
MAX_RESTARTS = 5  # within RESTART_WINDOW_S; then there is nothing to be mended by starting again
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
        GatewayError: it refuses; with its words.
    """
    command = [find_nginx(), "-t", "-q", "-p", str(config.parent), "-c", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise GatewayError(f"nginx refuses its configuration: {result.stderr.strip()[-600:]}")


class Supervisor:
    """Keep both programs running until told to stop.

    Args:
        load_settings: reads the settings file.
        settings_file: handed to the guard.
        root: of the repository.
    """

    def __init__(self, load_settings: Callable[[], GatewaySettings], settings_file: Path, root: Path) -> None:
        self._load_settings = load_settings
        self._settings_file = settings_file
        self._root = root
        self._stopping = threading.Event()
        self._reloading = threading.Event()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: deque[float] = deque()
        self._run_folder = Path()

    def run(self) -> int:
        """Run until SIGTERM; return the exit status, 1 when a program would not stay up.

        Raises:
            GatewayError: nginx or the guard cannot start.
            GatewaySettingsError: the settings cannot be used.
        """
        settings = self._load_settings()
        config = write_config(settings, self._root)
        check_config(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        signal.signal(signal.SIGHUP, lambda *_: self._reloading.set())
        self._run_folder = settings.run_folder
        settings.guard_socket.unlink(missing_ok=True)
        guard = [sys.executable, str(Path(__file__).with_name("gateway_guard.py"))]
        guard += ["--settings", str(self._settings_file), "--root", str(self._root)]
        commands = {"guard": guard, "nginx": [find_nginx(), "-p", str(settings.run_folder), "-c", str(config)]}
        try:
            self._start("guard", commands["guard"])
            self._wait_for(settings.guard_socket)
            self._start("nginx", commands["nginx"])
            return self._watch(commands)
        finally:
            self._end("nginx", signal.SIGQUIT, NGINX_STOP_S)
            self._end("guard", signal.SIGTERM, GUARD_STOP_S)

    def _watch(self, commands: dict[str, list[str]]) -> int:
        while not self._stopping.wait(POLL_S):
            if self._reloading.is_set():
                self._reloading.clear()
                self._reload()
            for name, child in list(self._children.items()):
                if child.poll() is None:
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
        try:
            check_config(write_config(self._load_settings(), self._root))
        except (GatewayError, GatewaySettingsError) as error:
            print(f"gateway: the old settings stay: {error}", file=sys.stderr, flush=True)
            return
        for child in self._children.values():
            child.send_signal(signal.SIGHUP)

    def _start(self, name: str, command: list[str]) -> None:
        # A killed nginx leaves its sockets, and the next would find them taken.
        for socket in self._run_folder.glob("inner*.sock") if name == "nginx" else ():
            socket.unlink()
        self._children[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_own_group)

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
            child.terminate()  # nginx: at once, with its workers
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)


def _own_group() -> None:
    """Lead a group of one's own, and end when the supervisor is killed: nobody would restart or stop it any more."""
    os.setpgrp()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
