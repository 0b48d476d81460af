"""Start the local TorchServe and prove that it answers right, tell about it, or stop it."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil

from ops.doctor.commands import examine
from ops.doctor.findings import ERROR
from ops.paths import ROOT
from ops.settings.locks import LockedError, locked
from ops.settings.server import (
    ARCHIVE,
    CONFIG,
    GOLDEN,
    LOGGING,
    MANIFEST,
    Settings,
    SettingsError,
    read_settings,
    require_own_protocol,
)
from ops.torchserve.golden import WrongAnswersError, ask_as_curl, check_golden, is_loaded, loaded_workers
from ops.torchserve.instance import (
    CONSOLE,
    START_LOCK,
    ServerError,
    belongs_to,
    describe,
    is_torchserve,
    launch,
    own_environment,
    require_room,
    running_server,
    servers_of,
    stop,
    stop_supervisors,
    supervisors_of,
    temporary_folder_owner,
)
from ops.torchserve.java import JavaError
from ops.torchserve.logs import StartLog
from ops.torchserve.temporary import remove_private_folder
from torchserve_hardened.agent import SHA256

BIN_DIR = Path(sys.executable).parent
EXAMPLE_TWEET = "Wildfire jumps the highway near Redding, families being evacuated"
POLL_S = 0.2
REFUSED_AFTER_S = 2.0  # a load error is followed by others that it causes; the model log is complete by then
EXAMPLE = """examples:
  disaster-tweets serve     start, or say that the right server runs already
  disaster-tweets status    exit status 0 when a server started here answers its golden tweets right
  disaster-tweets stop
"""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT, bin_dir: Path = BIN_DIR) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("start", "status", "stop"))
    parser.add_argument("--timeout-s", type=float, default=120.0, help="limit for a start (default: %(default)s)")
    options = parser.parse_args(arguments)
    if sys.platform != "linux":
        print(
            f"{options.command}: this is {sys.platform}; expected Linux: use a container or a Linux machine",
            file=sys.stderr,
        )
        return 1
    try:
        settings = read_settings(root)
        if options.command == "start":
            require_own_protocol(os.environ, root)
            # A second start waits for the first, and then finds its server.
            with locked(root / START_LOCK, options.timeout_s):
                return start(root, bin_dir, settings, options.timeout_s)
        return status(root, settings) if options.command == "status" else stop_own(root, settings)
    except (ServerError, SettingsError, WrongAnswersError, JavaError, LockedError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    except (OSError, http.client.HTTPException) as error:
        print(f"{options.command}: the server does not answer ({error}); make stop, make serve", file=sys.stderr)
        return 1


def fingerprint(root: Path) -> str:
    """Return one hash over everything a server reads at its start: the archive and its settings.

    Args:
        root: the folder from which the server is started.

    Raises:
        SettingsError: there is no complete archive.
    """
    try:
        archive = json.loads((root / MANIFEST).read_text(encoding="utf-8"))["archive_sha256"]
    except (OSError, ValueError, KeyError):
        raise SettingsError(f"{MANIFEST} is missing or broken; build the archive: make archive") from None
    for path in (ARCHIVE, GOLDEN):
        if not (root / path).is_file():
            raise SettingsError(f"{path} is missing; build the archive: make archive")
    digest = hashlib.sha256(f"{archive} {SHA256}".encode())  # the agent is part of the server
    for path in (root / CONFIG, root / LOGGING):
        digest.update(path.read_bytes() if path.is_file() else b"none")
    return digest.hexdigest()


def start(root: Path, bin_dir: Path, settings: Settings, timeout_s: float) -> int:
    """Bring up the server of the present archive and settings, unless it runs; return the exit status."""
    began = time.monotonic()
    wanted = fingerprint(root)
    found = running_server(root)
    if found:
        current = found[0].fingerprint == wanted
        if current and is_loaded(settings.management):
            _say(_report(root, settings, f"already running (pid {found[1].pid})"))
            return 0
        why = "the server that runs has no loaded model" if current else "the archive or the settings changed"
        print(f"{why}; restarting it")
        stop(root, found[1], settings.addresses)
    for supervisor in supervisors_of(root):
        # It may wait between two starts, and would empty the temporary folder of a server that is not its own.
        raise ServerError(f"{describe(supervisor)} keeps the server of this folder running; stop it first: make stop")
    require_room(root, settings.addresses)
    if "TS_CONFIG_FILE" in os.environ:
        print("TS_CONFIG_FILE is set and not used: make serve reads config.properties", file=sys.stderr)
    variables = own_environment(os.environ, bin_dir, root)
    _require_health(root, bin_dir)
    log = StartLog(root, CONSOLE, variables)
    # `make` and terminals end a program with these; the server must not be left half started.
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    process = None
    try:
        process = launch(root, bin_dir, variables, wanted)
        _wait_until_loaded(process, settings, log, began + timeout_s)
        report = _report(root, settings, f"ready in {time.monotonic() - began:.1f} s (pid {process.pid})")
    except BaseException:
        if process is not None:  # else `launch` has ended what it started
            stop(root, process, settings.addresses)
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    _say(report)
    return 0


def _require_health(root: Path, bin_dir: Path) -> None:
    """Say what the doctor finds, and refuse to start over an error: an archive that nobody trusts, an open port.

    Raises:
        ServerError: there are errors; each is printed before.
    """
    findings = examine(root, bin_dir, os.environ, with_ports=False)
    for finding in findings:
        print(finding.line(), file=sys.stderr)
    errors = sum(finding.severity == ERROR for finding in findings)
    if errors:
        raise ServerError(f"{errors} errors, see above; nothing was started. Look again: disaster-tweets doctor")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait_until_loaded(process: psutil.Process, settings: Settings, log: StartLog, deadline: float) -> None:
    """Wait until all workers have loaded the model.

    Raises:
        ServerError: the server ended, the model refused to load, or the time is up; with the reason from the logs.
    """
    progress = _Progress()
    refused_at = None
    while not loaded_workers(settings.management).is_complete:
        now = time.monotonic()
        if not is_torchserve(process):
            progress.clear()
            raise ServerError(f"TorchServe ended while starting: {log.reason()}")
        if log.load_error():
            refused_at = refused_at or now
        if refused_at and now - refused_at > REFUSED_AFTER_S:
            progress.clear()
            raise ServerError(f"the model refused to load: {log.load_error()}")
        if now > deadline:
            progress.clear()
            raise ServerError(f"not ready in time: {log.reason()}")
        progress.show("starting TorchServe and loading the model")
        time.sleep(POLL_S)
    progress.clear()


def _report(root: Path, settings: Settings, state: str) -> str:
    count = check_golden(settings.inference, root / GOLDEN)
    answer = ask_as_curl(settings.inference, EXAMPLE_TWEET)
    rest = f"localhost:{settings.inference.port}"
    return (
        f"TorchServe {state}; {count} golden tweets answered right\n\n"
        f"  $ curl -X POST {rest}/predictions/tweets -d '{EXAMPLE_TWEET}'\n"
        f"  {answer}\n\n"
        f"  REST     http://{rest}/predictions/tweets\n"
        f"  gRPC     localhost:{settings.grpc.port}\n"
        f"  state    http://localhost:{settings.management.port}/models/tweets?customized=true\n"
        f"  metrics  http://localhost:{settings.metrics.port}/metrics\n"
        "  stop     make stop"
    )


def _say(report: str) -> None:
    try:
        print(report, flush=True)
    except BrokenPipeError:
        # Whoever read our lines has gone (`make serve | head`); the server is none the worse for it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def status(root: Path, settings: Settings) -> int:
    """Tell whether a server answers right; 0 when it does, started here or by hand."""
    owner = next(iter(servers_of(root)), None)
    if owner is None and not is_loaded(settings.management):
        print("no server runs; start one: make serve", file=sys.stderr)
        return 1
    count = check_golden(settings.inference, root / GOLDEN)
    workers = loaded_workers(settings.management)
    few = "" if workers.is_complete else f", with {workers.ready} of {workers.wanted} workers"
    print(f"{describe(owner) if owner else 'a server'} answers {count} golden tweets right{few}")
    return 0


def stop_own(root: Path, settings: Settings) -> int:
    """Stop the server of this folder, started by `make serve` or by hand; return the exit status."""
    recorded = running_server(root)
    supervisors = stop_supervisors(root)
    for process in supervisors:
        print(f"stopped the supervisor {process.pid} and its server")
    own = servers_of(root)
    for process in own:
        stop(root, process, settings.addresses)
        by_hand = "" if recorded and recorded[1] == process else ", which was started by hand"
        print(f"stopped {process.pid}{by_hand}")
    if own or supervisors:
        remove_private_folder(root)  # a supervisor leaves the unpacked model in it
        return 0
    other = temporary_folder_owner()
    if other is not None and not belongs_to(root, other):
        print(f"no server of this folder runs; {describe(other)} is left alone")
    else:
        print("no server runs")
    return 0


class _Progress:
    """One line that counts the seconds on a terminal, and one line in all elsewhere."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = False

    def show(self, what: str) -> None:
        if sys.stdout.isatty():
            print(f"\r\033[K{what} ... {time.monotonic() - self._began:.0f} s", end="", flush=True)
        elif not self._shown:
            print(f"{what} ...", flush=True)
        self._shown = True

    def clear(self) -> None:
        if sys.stdout.isatty():
            print("\r\033[K", end="", flush=True)
