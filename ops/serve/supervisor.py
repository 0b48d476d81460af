"""Keep one TorchServe running: start it again when it dies or no longer serves, and give up loudly.

TorchServe restarts a lost worker, and nobody restarts TorchServe: its launcher ends with exit status 0 even when the
Java process was killed, and a SIGTERM to the launcher leaves Java behind. This program is the missing parent. In a
container it is the child of the init; by hand it takes the place of `torchserve --start`:

    disaster-tweets supervise
    disaster-tweets supervise --max-restarts 10 --window-s 600

Before every start, the first and each later one, model_store/tweets.mar must be what a key in .keys/trusted signed, and
the doctor must find no error.

It ends with 0 when it was told to stop (SIGTERM, SIGINT, SIGHUP) and has stopped the server with all workers, with 1
when the start is refused or the server died too often: a container then ends, which its engine reports.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType

from ops.archive.contents import ArchiveRefusedError
from ops.archive.signature import TRUSTED_KEYS, Verified, verify_archive
from ops.doctor.commands import examine
from ops.doctor.findings import ERROR
from ops.paths import ROOT
from ops.settings.locks import LockedError, locked
from ops.settings.server import ARCHIVE, SettingsError, read_settings, require_own_protocol
from ops.torchserve.golden import is_loaded
from ops.torchserve.instance import (
    KILL_TIMEOUT_S,
    START_COMMAND,
    ServerError,
    end_session,
    own_environment,
    require_room,
)
from ops.torchserve.java import JavaError
from ops.torchserve.temporary import empty_private_folder

POLL_S = 0.2
WATCH_EVERY_S = 5.0
STOP_TIMEOUT_S = 20.0  # below the 30 s after which Kubernetes kills, and above Docker's 10 s: see docs/operations.md
BACK_OFF_BASE_S = 0.5
BACK_OFF_CAP_S = 30.0
LOCK = "supervisor.lock"  # in the private temporary folder: a container has no other place to write


@dataclass(frozen=True)
class Limits:
    """How long and how often.

    Args:
        max_restarts: restarts within `window_s` after which the supervisor gives up.
        window_s: seconds.
        unready_s: a server without a loaded model for so long is killed and started again. Longer than a worker takes
            to load and than the hung one that is being replaced (`responseTimeout`, `startupTimeout`: 120 s each).
    """

    max_restarts: int = 5
    window_s: float = 300.0
    unready_s: float = 180.0

    def __post_init__(self) -> None:
        for name in ("max_restarts", "window_s", "unready_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")


@dataclass
class Supervisor:
    """One command, kept running.

    Args:
        command: starts the server and stays its parent (`--foreground`).
        limits: when to give up.
        verify: asked before every start; raises ArchiveRefusedError or ServerError where nothing must be served.
        is_serving: asked every few seconds; None trusts a process that lives.
        folder: working directory of the command.
        environment: of the command; None takes this program's own.
        watch_every_s: seconds between two questions to `is_serving`.
    """

    command: Sequence[str]
    limits: Limits
    verify: Callable[[], Verified]
    is_serving: Callable[[], bool] | None = None
    folder: Path = ROOT
    environment: Mapping[str, str] | None = None
    watch_every_s: float = WATCH_EVERY_S
    _stops: bool = field(default=False, init=False)

    def run(self) -> int:
        """Run the command until told to stop, the archive is refused or it died too often; return the exit status."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last: the terminal was closed
        previous = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            return self._keep_running()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stops = True

    def _keep_running(self) -> int:
        restarts: deque[float] = deque()
        while True:
            refused = not self._stops and self._is_refused()
            if self._stops:
                say("stopped, as asked")
                return 0
            if refused:
                return 1
            started = time.monotonic()
            # A session of its own: Ctrl-C is for this program, and whatever the server leaves can be found and ended.
            child = subprocess.Popen(self.command, cwd=self.folder, env=self.environment, start_new_session=True)
            say(f"started pid {child.pid}: {' '.join(self.command)}")
            reason = self._watch(child)
            end_child(child, STOP_TIMEOUT_S if self._stops else 0.0)
            if self._stops:
                say("stopped, as asked")
                return 0
            now = time.monotonic()
            restarts.append(now)
            while now - restarts[0] > self.limits.window_s:
                restarts.popleft()
            if len(restarts) > self.limits.max_restarts:
                say(
                    f"GIVING UP: the server {reason}; that was number {len(restarts)} within "
                    f"{self.limits.window_s:.0f} s and {self.limits.max_restarts} restarts are allowed. "
                    "Nothing serves now; read logs/ts_log.log and logs/model_log.log"
                )
                return 1
            wait_s = min(BACK_OFF_CAP_S, BACK_OFF_BASE_S * 2 ** (len(restarts) - 1))
            say(
                f"the server {reason} after {now - started:.1f} s; starting it again in {wait_s:.1f} s "
                f"(restart {len(restarts)} of {self.limits.max_restarts} in {self.limits.window_s:.0f} s)"
            )
            self._wait(wait_s)

    def _is_refused(self) -> bool:
        """Verify what is to be started, which may have changed since the last start, and say what came of it."""
        try:
            say(f"{ARCHIVE}: {self.verify().summary}")
        except (ArchiveRefusedError, ServerError) as error:
            say(f"REFUSED: {error}. Nothing was started and nothing serves")
            return True
        return False

    def _watch(self, child: subprocess.Popen[bytes]) -> str:
        """Wait until the child ends, serves no longer or a stop is asked for; return what happened."""
        served_at = looked_at = time.monotonic()
        while child.poll() is None and not self._stops:
            now = time.monotonic()
            if self.is_serving is not None and now - looked_at >= self.watch_every_s:
                if self.is_serving():
                    served_at = time.monotonic()
                looked_at = time.monotonic()
                if looked_at - served_at > self.limits.unready_s:
                    return f"had no loaded model for {looked_at - served_at:.0f} s"
            time.sleep(POLL_S)
        return "ended" if child.returncode in (0, None) else f"ended with status {child.returncode}"

    def _wait(self, seconds: float) -> None:
        """Wait, until a stop is asked for at most."""
        end = time.monotonic() + seconds
        while not self._stops and time.monotonic() < end:
            time.sleep(min(POLL_S, seconds))


def end_child(child: subprocess.Popen[bytes], patience_s: float) -> None:
    """End a child and everything that it started; a `patience_s` of 0 kills at once."""
    end_session(child.pid, patience_s)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(KILL_TIMEOUT_S)


def require_health(folder: Path, bin_dir: Path, environment: Mapping[str, str]) -> None:
    """Ask the doctor, as `make serve` does.

    Raises:
        ServerError: it finds errors; each is said before.
    """
    findings = examine(folder, bin_dir, environment, with_ports=False)
    for finding in findings:
        say(finding.line())
    errors = sum(finding.severity == ERROR for finding in findings)
    if errors:
        raise ServerError(f"{errors} errors, see above; look again: disaster-tweets doctor")


def say(message: str) -> None:
    """Print one line with its time; a supervisor's words belong into the container's log."""
    print(f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} supervise: {message}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line; return the exit status."""
    default = Limits()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-restarts", type=int, default=default.max_restarts, help="default: %(default)s")
    parser.add_argument("--window-s", type=float, default=default.window_s, help="default: %(default)s")
    parser.add_argument(
        "--unready-s", type=float, default=default.unready_s, help="no loaded model for so long (default: %(default)s)"
    )
    parser.add_argument(
        "--folder", type=Path, default=root, help="where config.properties, model_store and .keys/trusted lie"
    )
    parser.add_argument("command", nargs="*", help="after --: what to run (default: torchserve with the settings here)")
    options = parser.parse_args(arguments)
    folder, bin_dir = options.folder.resolve(), Path(sys.executable).parent
    own_command = [str(bin_dir / "torchserve"), "--foreground", *START_COMMAND.split()]
    try:
        limits = Limits(options.max_restarts, options.window_s, options.unready_s)
        settings = read_settings(folder)
        require_own_protocol(os.environ, folder)
        environment = own_environment(os.environ, bin_dir, folder)
        with locked(Path(environment["TMPDIR"], LOCK)):
            if not options.command:
                require_room(folder, settings.addresses)

            def verify() -> Verified:
                verified = verify_archive(folder / ARCHIVE, folder / TRUSTED_KEYS)
                # Of a server that was killed: its pid file, sockets and unpacked model. Then the doctor asks for room.
                empty_private_folder(folder, LOCK)
                if not options.command:
                    require_health(folder, bin_dir, environment)
                return verified

            return Supervisor(
                options.command or own_command,
                limits,
                verify,
                is_serving=lambda: is_loaded(settings.management),
                folder=folder,
                environment=environment,
            ).run()
    except (ValueError, SettingsError, ServerError, JavaError, LockedError) as error:
        print(f"supervise: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
