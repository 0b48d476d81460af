"""Start one real TorchServe the way a person does, apart from every other one, and stop it for sure.

Two TorchServes on one machine clash in three places; each has its own here:
the pid file lies in Python's temporary folder (TMPDIR), worker sockets and unpacked models in Java's (TEMP),
and five ports come from config.properties. Source: TorchServe 0.12, ts/model_server.py, util/Connector.java.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support import old_processor

REPOSITORY = Path(__file__).resolve().parents[2]
LINKED = ("handler", "log4j2.xml")  # what the server reads beside config.properties
SOCKET_PATH_LIMIT_BYTES = 107  # Linux: sun_path holds 108 with the closing NUL
ENVIRONMENT_KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "JAVA_HOME", "LD_LIBRARY_PATH", "TZ", "USER"),
    *old_processor.ENVIRONMENT,
)
WORKER_SCRIPT = "model_service_worker.py"
LOWEST_PORT = 20_000


class ServerFailedError(AssertionError):
    """The server died or did not become ready; the message carries the end of its console."""


def free_ports(number: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on just now, and that the kernel gives to no connection.

    Some seconds go by until the server listens. A port that the kernel chose could be another connection's by then.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        ports = list(_quiet_ports())
        random.shuffle(ports)
        for port in ports:
            if len(found) == number:
                return found
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    raise ServerFailedError(f"{len(found)} ports are free from {LOWEST_PORT} on; expected {number}")


def _quiet_ports() -> range:
    """Return the ports below those that the kernel chooses for connections; where these are few, all."""
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        low = 0
    return range(LOWEST_PORT, low) if low >= LOWEST_PORT + 1_000 else range(LOWEST_PORT, 60_000)


@dataclass(frozen=True)
class Ports:
    """The five ports of one TorchServe on 127.0.0.1."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int

    @classmethod
    def free(cls) -> Ports:
        """Return five ports that nobody listens on just now; see `free_ports`."""
        return cls(*free_ports(5))

    def properties(self) -> dict[str, str]:
        """Return the lines of config.properties that say these ports."""
        return {
            "inference_address": f"http://127.0.0.1:{self.inference}",
            "management_address": f"http://127.0.0.1:{self.management}",
            "metrics_address": f"http://127.0.0.1:{self.metrics}",
            "grpc_inference_port": str(self.grpc_inference),
            "grpc_management_port": str(self.grpc_management),
        }


def write_config(root: Path, ports: Ports, changes: Mapping[str, str] | None = None) -> None:
    """Write the repository's config.properties to `root` with other ports.

    Args:
        root: folder the server will be started in.
        ports: take the place of 8080-8082, 7070 and 7071.
        changes: further keys to set or replace.
    """
    values = {**ports.properties(), **(changes or {})}
    lines = []
    for line in (REPOSITORY / "config.properties").read_text(encoding="utf-8").splitlines():
        key = line.split("=", 1)[0].strip()
        lines.append(f"{key}={values.pop(key)}" if key in values else line)
    lines += [f"{key}={value}" for key, value in values.items()]
    (root / "config.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_root(folder: Path, ports: Ports, changes: Mapping[str, str] | None = None) -> Path:
    """Make a folder that looks like the repository's root to a server: links, and a config of its own.

    Args:
        folder: is created; must not exist or be empty.
        ports: for its config.properties.
        changes: further keys of its config.properties.

    Returns:
        The folder, with an empty model_store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        if (REPOSITORY / name).exists():
            (folder / name).symlink_to(REPOSITORY / name)
    (folder / "model_store").mkdir()
    write_config(folder, ports, changes)
    return folder


@dataclass
class TorchServeProcess:
    """One running TorchServe.

    Args:
        root: its working directory; holds config.properties and gets logs/.
        ports: what its config.properties says.
        model_names: names to wait for, in the order given at the start.
        temp: its own TMPDIR and TEMP, removed by `stop`.
        java: the front end's process.
    """

    root: Path
    ports: Ports
    model_names: tuple[str, ...]
    temp: Path
    java: psutil.Process
    started: float = field(default_factory=time.monotonic)
    _first_worker_pids: frozenset[int] = frozenset()

    @classmethod
    def start(
        cls,
        root: Path,
        ports: Ports,
        model_store: Path,
        models: str = "tweets.mar",
        extra_args: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (),
    ) -> TorchServeProcess:
        """Run `torchserve --start --model-store ... --models ...` in `root`.

        Args:
            root: working directory, see `make_root`.
            ports: must agree with `root`'s config.properties.
            model_store: folder with the archives.
            models: what follows --models, parted by spaces.
            extra_args: appended to the command, such as `--ncs`.
            environment: added to the few inherited variables; TS_* of the machine are not inherited.
            program: in place of the command `torchserve` of this environment.

        Raises:
            ServerFailedError: the launcher came back with an error or left no pid.
        """
        temp = Path(tempfile.mkdtemp(prefix="ts-", dir="/tmp" if os.path.isdir("/tmp") else None))
        longest = temp / ".ts.sock.99999"
        if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT_BYTES:
            raise ServerFailedError(
                f"socket path {longest} is too long; expected at most {SOCKET_PATH_LIMIT_BYTES} bytes"
            )
        scripts = Path(sys.executable).parent
        inherited = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
        environ = {**inherited, **(environment or {}), "TMPDIR": str(temp), "TEMP": str(temp)}
        environ["PATH"] = f"{scripts}{os.pathsep}{environ.get('PATH', os.defpath)}"
        command = [
            *(program or [str(scripts / "torchserve")]),
            "--start",
            "--model-store",
            str(model_store),
            "--models",
        ]
        command += [*models.split(), *extra_args]
        console = root / "logs" / "console.log"
        console.parent.mkdir(exist_ok=True)
        with console.open("ab") as output:
            launcher = subprocess.run(
                command, cwd=root, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60
            )
        pid_file = temp / ".model_server.pid"
        if launcher.returncode != 0 or not pid_file.is_file():
            shutil.rmtree(temp, ignore_errors=True)
            raise ServerFailedError(f"{' '.join(command)} failed: {console.read_text(errors='replace')[-2000:]}")
        names = tuple(re.sub(r"\.(mar|model)$", "", model.split("=")[0]) for model in models.split())
        return cls(root, ports, names, temp, psutil.Process(int(pid_file.read_text())))

    def __enter__(self) -> TorchServeProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inference}"

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.metrics}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.ports.grpc_inference}"

    @property
    def logs_dir(self) -> Path:
        return self.root / "logs"

    def console(self) -> str:
        """Return what a person would have seen on the terminal, of all starts in this root."""
        return (self.logs_dir / "console.log").read_text(encoding="utf-8", errors="replace")

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until every model has all its workers READY.

        `/ping` is no help: it is healthy while models still load. Source: util/ApiUtils.java, isModelHealthy.

        Raises:
            ServerFailedError: the server died, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not all(self._is_ready(name) for name in self.model_names):
            if not is_alive(self.java):
                raise ServerFailedError(f"TorchServe died:\n{self.console()[-3000:]}")
            if time.monotonic() > deadline:
                raise ServerFailedError(f"TorchServe is not ready after {timeout_s} s:\n{self.console()[-3000:]}")
            time.sleep(0.1)
        self._first_worker_pids = frozenset(self.worker_pids())

    def worker_pids(self) -> list[int]:
        """Return the pids of the living Python workers, in order: how many there are is the archive's setting."""
        return sorted(process.pid for process in self._descendants() if WORKER_SCRIPT in " ".join(_command(process)))

    @property
    def restart_count(self) -> int:
        """Number of workers that were not there when `wait_ready` returned, or are gone since."""
        now = set(self.worker_pids())
        return max(len(now - self._first_worker_pids), len(self._first_worker_pids - now))

    def listening_addresses(self) -> list[tuple[str, int]]:
        """Return (address, port) of every TCP socket that the server or a worker listens on."""
        found = []
        for process in [self.java, *self._descendants()]:
            with contextlib.suppress(psutil.Error):
                found += [one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        return [(address.ip, address.port) for address in found]

    def logged_bytes(self) -> bytes:
        """Return every byte of every file under logs/, the console included."""
        return b"".join(path.read_bytes() for path in sorted(self.logs_dir.rglob("*")) if path.is_file())

    def stop(self, timeout_s: float = 20) -> None:
        """End the server and its workers, by pid; kill what does not go."""
        family = [self.java, *self._descendants()]
        with contextlib.suppress(psutil.NoSuchProcess):
            self.java.terminate()
        if not _wait_gone(family, timeout_s):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            _wait_gone(family, timeout_s)
        shutil.rmtree(self.temp, ignore_errors=True)

    def _descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [process for process in self.java.children(recursive=True) if is_alive(process)]
        return []

    def _is_ready(self, model_name: str) -> bool:
        try:
            versions = get_json(f"{self.management_url}/models/{model_name}")
        except (OSError, ValueError):
            return False
        for version in versions:
            ready = [worker for worker in version["workers"] if worker["status"] == "READY"]
            if not ready or len(ready) < version["minWorkers"]:
                return False
        return bool(versions)


def get_json(url: str, timeout_s: float = 5) -> Any:
    """GET an address and parse its answer.

    Raises:
        OSError: no connection, or a status of 400 and up.
        ValueError: no JSON.
    """
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        return json.load(answer)


def is_alive(process: psutil.Process) -> bool:
    """Tell a living process from a dead one whose parent has not looked yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait_gone(processes: Iterable[psutil.Process], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []
