"""Find, start and stop the one TorchServe of this folder, and never anybody else's."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ops.settings.locks import write_whole
from ops.settings.server import OPEN_INFERENCE, Address
from ops.torchserve.java import find_java
from ops.torchserve.temporary import ServerError as ServerError  # others import it from here
from ops.torchserve.temporary import make_private_folder, remove_private_folder, with_private_folder

MAIN_CLASS = "org.pytorch.serve.ModelServer"
PID_FILE = ".model_server.pid"  # in the temporary folder. Source: TorchServe 0.12, ts/model_server.py
SUPERVISOR = "ops.serve.supervisor"
RECORD = Path(".run/server.json")
CONSOLE = Path(".run/console.log")
START_LOCK = Path(".run/serve.lock")
STOP_TIMEOUT_S = 30.0
SUPERVISOR_STOP_TIMEOUT_S = 40.0  # it gives Java 20 s
ENDING_TIMEOUT_S = 10.0
COMMAND_LINE_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 5.0
KILL_ROUNDS = 3
START_COMMAND = "--start --ncs --model-store model_store --models tweets.mar --ts-config config.properties"


@dataclass(frozen=True)
class Record:
    """What `start` leaves for `stop` and for the next `start`."""

    pid: int
    fingerprint: str

    def save(self, root: Path) -> None:
        """Write it under a root."""
        write_whole(root / RECORD, json.dumps(asdict(self)) + "\n")


def running_server(root: Path) -> tuple[Record, psutil.Process] | None:
    """Return the server that was started here by `make serve` and still runs."""
    try:
        record = Record(**json.loads((root / RECORD).read_text(encoding="utf-8")))
        process = psutil.Process(record.pid)
    except (OSError, ValueError, TypeError, psutil.Error):
        return None  # no record, a broken one, or of a process that has ended
    # A pid is given again to another program after a while; the clock may have been set since. Its command and its
    # folder tell it for sure.
    return (record, process) if is_torchserve(process) and belongs_to(root, process) else None


def servers_of(root: Path) -> list[psutil.Process]:
    """Return every TorchServe that was started in a folder, by `make serve`, by hand or by a supervisor."""
    return [process for process in psutil.process_iter() if is_torchserve(process) and belongs_to(root, process)]


def is_torchserve(process: psutil.Process) -> bool:
    """Tell whether a process is a TorchServe front end that runs."""
    try:
        return MAIN_CLASS in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def supervisors_of(root: Path) -> list[psutil.Process]:
    """Return the programs that start a folder's server again when it dies: one, or none."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _is_supervisor(process.cmdline()) and belongs_to(root, process) and _is_alive(process):
                found.append(process)
    return found


def _is_supervisor(command: Sequence[str]) -> bool:
    """Tell whether a command is Python with our program; an editor that has its file open is none."""
    if not command or not Path(command[0]).name.startswith("python"):
        return False
    return ["-m", SUPERVISOR] in (list(pair) for pair in itertools.pairwise(command)) or _is_console_script(command)


def _is_console_script(command: Sequence[str]) -> bool:
    return len(command) > 2 and Path(command[1]).name == "disaster-tweets" and command[2] == "supervise"


def stop_supervisors(root: Path) -> list[psutil.Process]:
    """Stop the supervisor of a folder, which stops its server; return what was stopped."""
    supervisors = supervisors_of(root)
    for process in supervisors:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(supervisors, SUPERVISOR_STOP_TIMEOUT_S)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return supervisors


def belongs_to(root: Path, process: psutil.Process) -> bool:
    """Tell whether a TorchServe was started in a folder."""
    try:
        return Path(process.cwd()) == root.resolve()
    except psutil.Error:
        return False


def temporary_folder_owner(folder: Path | None = None) -> psutil.Process | None:
    """Return the TorchServe whose pid file is in a temporary folder (default: the one that a start by hand uses)."""
    try:
        file = Path(folder or tempfile.gettempdir(), PID_FILE)
        process = psutil.Process(int(file.read_text(encoding="utf-8")))
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
        ServerError: a port is taken, or a server of this folder runs.
    """
    for own in servers_of(root):
        raise ServerError(f"{describe(own)} was not started by `make serve`; stop it first: make stop")
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
    # The first would win over --ts-config without a word, the second makes answers wrong.
    for name in ("TS_CONFIG_FILE", OPEN_INFERENCE):
        variables.pop(name, None)
    if "TMPDIR" in variables:
        # The launcher reads TMPDIR, Java is told TEMP: the sockets of the workers belong into the pid file's folder.
        variables.setdefault("TEMP", variables["TMPDIR"])
    variables |= _locale(variables)
    if find_java(variables) is None:
        raise ServerError("there is no Java of version 11 or later; run `make setup`, which brings one")
    return variables


def _locale(variables: Mapping[str, str]) -> dict[str, str]:
    """Return a UTF-8 locale in place of C: with that Java finds no file below a folder with a non-ASCII letter."""
    set_to = next((variables[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if variables.get(name)), "C")
    return {"LC_ALL": "C.UTF-8"} if set_to in ("C", "POSIX") else {}


def own_environment(environment: Mapping[str, str], bin_dir: Path, root: Path) -> dict[str, str]:
    """Return the variables of `server_environment` with a private temporary folder, which is made.

    Raises:
        ServerError: there is no Java, or the temporary folder is not private.
    """
    return with_private_folder(server_environment(environment, bin_dir), make_private_folder(root))


def launch(root: Path, bin_dir: Path, variables: Mapping[str, str], fingerprint: str) -> psutil.Process:
    """Start TorchServe and record it; it may not answer yet.

    Args:
        root: the folder in which it is started.
        bin_dir: programs of the virtual environment.
        variables: of `own_environment`.
        fingerprint: of what it serves.

    Raises:
        ServerError: it did not start, with the last line that it printed. Nothing of it runs then.
    """
    console = root / CONSOLE
    console.parent.mkdir(exist_ok=True)
    program = bin_dir / "torchserve"
    if not program.is_file():
        raise ServerError(f"there is no torchserve in {bin_dir}; run `make setup`")
    # Of a server that has ended: the launcher would take another process of that number for it.
    Path(variables["TMPDIR"], PID_FILE).unlink(missing_ok=True)
    launcher = None
    try:
        with console.open("wb") as output:
            # Files for all three streams: the server outlives this program, and a pipe to it would never close.
            launcher = subprocess.Popen(
                [str(program), *START_COMMAND.split()],
                cwd=root,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for this program, which then stops the server
            )
            status = launcher.wait()
        # Between its start and its first instruction a program has no command line, by which Java is known.
        deadline = time.monotonic() + COMMAND_LINE_TIMEOUT_S
        while not (servers := [process for process in session(launcher.pid) if is_torchserve(process)]):
            if status or not session(launcher.pid) or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if status or not servers:
            lines = console.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ServerError(
                f"TorchServe did not start: {lines[-1] if lines else 'it printed nothing'} (see {CONSOLE})"
            )
        Record(servers[0].pid, fingerprint).save(root)
    except BaseException:
        # Interrupted, or without a pid file: what was started is found by its session, and never anything else.
        if launcher is not None:
            end_session(launcher.pid, 0.0)
        raise
    return servers[0]


def session(session_id: int) -> list[psutil.Process]:
    """Return the living processes of a session; they outlive their parent, so the tree does not tell."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_session(session_id: int, patience_s: float) -> None:
    """End every process of a session.

    Args:
        session_id: pid of its first process, which may have ended.
        patience_s: for an orderly end of Java, which stops its workers itself; 0 kills at once.
    """
    if patience_s:
        family = session(session_id)
        java = [process for process in family if is_torchserve(process)]
        for process in java or family:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs(family, timeout=patience_s)
    for _ in range(KILL_ROUNDS):  # a worker may have been started meanwhile
        family = session(session_id)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not _wait_until_gone(family, KILL_TIMEOUT_S):
            break


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
    remove_private_folder(root)
    # Of a start by hand; another user's file, or another server's, stays.
    pid_file = Path(tempfile.gettempdir(), PID_FILE)
    with contextlib.suppress(OSError, ValueError):
        if int(pid_file.read_text(encoding="utf-8")) == process.pid:
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
