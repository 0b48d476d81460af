"""Find, start and stop the one TorchServe of this folder, and never anybody else's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from java_runtime import find_java
from server_settings import Address

MAIN_CLASS = "org.pytorch.serve.ModelServer"
PID_FILE = ".model_server.pid"  # in the temporary folder. Source: TorchServe 0.12, ts/model_server.py
RECORD = Path(".run/server.json")
CONSOLE = Path(".run/console.log")
STOP_TIMEOUT_S = 30.0
ENDING_TIMEOUT_S = 10.0
START_COMMAND = "--start --ncs --model-store model_store --models tweets.mar --ts-config config.properties"


class ServerError(RuntimeError):
    """The server cannot be started or stopped; the message is one line that says what to do."""


@dataclass(frozen=True)
class Record:
    """What `start` leaves for `stop` and for the next `start`."""

    pid: int
    created: float  # seconds since the epoch; with the pid it names one process for ever
    fingerprint: str

    def save(self, root: Path) -> None:
        """Write it under a root."""
        (root / RECORD).parent.mkdir(exist_ok=True)
        (root / RECORD).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")


def running_server(root: Path) -> tuple[Record, psutil.Process] | None:
    """Return the server that was started here and still runs; forget one that does not."""
    try:
        record = Record(**json.loads((root / RECORD).read_text(encoding="utf-8")))
        process = psutil.Process(record.pid)
        # A pid is given again to another program after a while.
        if abs(process.create_time() - record.created) < 1.0 and is_torchserve(process):
            return record, process
    except (OSError, ValueError, TypeError, psutil.Error):
        pass  # no record, a broken one, or of a process that is gone: nothing of ours runs
    (root / RECORD).unlink(missing_ok=True)
    return None


def is_torchserve(process: psutil.Process) -> bool:
    """Tell whether a process is a TorchServe front end that runs."""
    try:
        return MAIN_CLASS in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def belongs_to(root: Path, process: psutil.Process) -> bool:
    """Tell whether a TorchServe was started in a folder."""
    try:
        return Path(process.cwd()) == root.resolve()
    except psutil.Error:
        return False


def temporary_folder_owner() -> psutil.Process | None:
    """Return the TorchServe that holds this temporary folder: a second one would mix up pid file and sockets."""
    try:
        process = psutil.Process(int(Path(tempfile.gettempdir(), PID_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, psutil.Error):
        return None
    return process if is_torchserve(process) else None


def is_free(address: Address) -> bool:
    """Tell whether a program could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does; else TIME_WAIT looks taken
        try:
            listener.bind((address.host, address.port))
        except OSError:
            return False
    return True


def holder(port: int) -> psutil.Process | None:
    """Return who listens on a port, or None where nobody does or this user may not know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listens and connection.laddr.port == port and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        return None
    return None


def describe_holder(port: int) -> str:
    """Return program, pid and folder of who listens on a port, as far as this user may know."""
    process = holder(port)
    return describe(process) if process else "a program of another user"


def _is_torchserve_on(port: int) -> bool:
    process = holder(port)
    return process is not None and is_torchserve(process)


def describe(process: psutil.Process) -> str:
    """Return program, pid and, where allowed, folder of a process."""
    try:
        name = "TorchServe" if is_torchserve(process) else process.name()
        return f"{name} (pid {process.pid}, started in {process.cwd()})"
    except psutil.Error:
        return f"pid {process.pid}"


def require_room(root: Path, addresses: Iterable[Address]) -> None:
    """Check that a server can start here.

    Args:
        root: the folder of the project.
        addresses: where the server will listen.

    Raises:
        ServerError: a port or the temporary folder is taken.
    """
    owner = temporary_folder_owner()
    if owner is not None and belongs_to(root, owner):
        raise ServerError(f"{describe(owner)} was started by hand; stop it first: make stop")
    if owner is not None:
        raise ServerError(
            f"{describe(owner)} uses the temporary folder {tempfile.gettempdir()}, and TorchServe needs one of its "
            "own; stop that server (torchserve --stop), or take another folder: mkdir -p /tmp/ts2 && "
            "TMPDIR=/tmp/ts2 make serve"
        )
    deadline = time.monotonic() + ENDING_TIMEOUT_S
    for address in addresses:
        # `torchserve --stop` returns before the server has ended.
        while not is_free(address) and time.monotonic() < deadline and _is_torchserve_on(address.port):
            time.sleep(0.2)
        if not is_free(address):
            raise ServerError(
                f"port {address.port} is taken by {describe_holder(address.port)}; stop it, or change {address.name} "
                "in config.properties"
            )


def server_environment(environment: Mapping[str, str], bin_dir: Path) -> dict[str, str]:
    """Return the variables to start TorchServe with.

    Args:
        environment: the present ones.
        bin_dir: programs of the virtual environment, found first; its `java` too, where it has one.

    Raises:
        ServerError: there is no Java.
    """
    variables = {**environment, "PATH": os.pathsep.join((str(bin_dir), environment.get("PATH", "")))}
    # It would win over --ts-config without a word.
    variables.pop("TS_CONFIG_FILE", None)
    if "TMPDIR" in variables:
        # The launcher reads TMPDIR, Java is told TEMP: the sockets of the workers belong beside the pid file.
        variables.setdefault("TEMP", variables["TMPDIR"])
    if find_java(variables) is None:
        raise ServerError("there is no Java of version 11 or later; run `make setup`, which brings one")
    return variables


def launch(root: Path, bin_dir: Path, variables: Mapping[str, str], fingerprint: str) -> psutil.Process:
    """Start TorchServe and record it; it may not answer yet.

    Raises:
        ServerError: it did not start, with the last line that it printed.
    """
    console = root / CONSOLE
    console.parent.mkdir(exist_ok=True)
    program = shutil.which("torchserve", path=str(bin_dir))
    if program is None:
        raise ServerError(f"there is no torchserve in {bin_dir}; run `make setup`")
    with console.open("wb") as output:
        # Files for all three streams: the server outlives this program, and a pipe to it would never close.
        result = subprocess.run(
            [program, *START_COMMAND.split()],
            cwd=root,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for this program, which then stops the server
            check=False,
        )
    process = temporary_folder_owner()
    if result.returncode or process is None:
        lines = console.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ServerError(f"TorchServe did not start: {lines[-1] if lines else 'it printed nothing'} (see {CONSOLE})")
    Record(process.pid, process.create_time(), fingerprint).save(root)
    return process


def stop(root: Path, process: psutil.Process, addresses: Iterable[Address]) -> None:
    """Stop a server with its workers and wait until its ports are free.

    Raises:
        ServerError: a port is still taken after `STOP_TIMEOUT_S`.
    """
    deadline = time.monotonic() + STOP_TIMEOUT_S
    workers: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        workers = process.children(recursive=True)
        process.terminate()
    _wait_until_gone([process], STOP_TIMEOUT_S / 2)
    # A worker without its server is of no use to anybody.
    for ending, timeout_s in ((psutil.Process.terminate, 2.0), (psutil.Process.kill, 2.0)):
        for survivor in _wait_until_gone([process, *workers], 0.0):
            with contextlib.suppress(psutil.NoSuchProcess):
                ending(survivor)
        _wait_until_gone([process, *workers], timeout_s)
    (root / RECORD).unlink(missing_ok=True)
    pid_file = Path(tempfile.gettempdir(), PID_FILE)
    if pid_file.is_file() and pid_file.read_text(encoding="utf-8").strip() == str(process.pid):
        pid_file.unlink()
    for address in addresses:
        while not is_free(address):
            if time.monotonic() > deadline:
                holder = describe_holder(address.port)
                raise ServerError(f"the server is stopped, and port {address.port} is held by {holder}")
            time.sleep(0.1)


def _wait_until_gone(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    deadline = time.monotonic() + timeout_s
    alive = list(processes)
    while alive := [process for process in alive if _is_alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        # In a container whose first process reaps nobody, the dead stay as zombies for ever.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
