"""Start a TorchServe of a profile, watch what it costs, hold it while another is measured, and end it by its pid."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil

from benchmark.servers.orphan_guard import guarded
from benchmark.servers.profiles import ARCHIVE, STORE, Profile
from ops.settings.server import Address
from ops.torchserve.golden import ask
from ops.torchserve.instance import PID_FILE, ServerError, server_environment

UNPROTECTED = [sys.executable, "-c", "from ts.model_server import start; start()"]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.02
EXAMPLE = b"Wildfire jumps the highway near Redding, families being evacuated"
WORKER = "model_service_worker.py"
MEGABYTE = 1e6


class Server:
    """One running TorchServe.

    Args:
        profile: what was started.
        java: the front end.
        temp: its temporary folder, removed with it.
        started: time.perf_counter() when `torchserve --start` was called.
    """

    def __init__(self, profile: Profile, java: psutil.Process, temp: Path, started: float) -> None:
        self.profile = profile
        self.start_seconds = float("nan")
        self._java = java
        self._temp = temp
        self._started = started

    def wait_until_right(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait for the first true answer, then for every worker, and note the time of the answer.

        Raises:
            ServerError: the server ended, or did not answer in time.
        """
        deadline = time.perf_counter() + timeout_s
        self._poll(self._answers, deadline)
        self.start_seconds = time.perf_counter() - self._started
        self._poll(self._has_all_workers, deadline)

    def memory(self) -> dict[str, float]:
        """Return resident memory in MB: the largest worker, all workers, the front end."""
        workers = [process.memory_info().rss / MEGABYTE for process in self._workers()]
        return {
            "worker_mb": round(max(workers), 1),
            "workers_mb": round(sum(workers), 1),
            "jvm_mb": round(self._java.memory_info().rss / MEGABYTE, 1),
        }

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the processor time used so far: the front end, all workers."""
        workers = [process.cpu_times() for process in self._workers()]
        own = self._java.cpu_times()
        return own.user + own.system, sum(times.user + times.system for times in workers)

    def hold(self) -> None:
        """Take every thread of the server off the cores, until `release`."""
        for process in self._family():
            process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        """Let a held server go on."""
        for process in self._family():
            process.send_signal(signal.SIGCONT)

    @property
    def java_pid(self) -> int:
        """Return the pid of the front end."""
        return int(self._java.pid)

    def worker_pids(self) -> list[int]:
        """Return the pids of the Python workers."""
        return [process.pid for process in self._workers()]

    def stop(self) -> None:
        """End front end and workers."""
        family = self._family()
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(process)
                    process.send_signal(signal.SIGCONT)  # a held process does not end before it goes on
            _, family = psutil.wait_procs(family, STOP_TIMEOUT_S)
        shutil.rmtree(self._temp, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._java, *self._java.children(recursive=True)]
        return [self._java]

    def _workers(self) -> list[psutil.Process]:
        return [process for process in self._family() if any(WORKER in part for part in process.cmdline())]

    def _poll(self, is_true: Callable[[], bool], deadline: float) -> None:
        while True:
            if not self._java.is_running() or self._java.status() == psutil.STATUS_ZOMBIE:
                raise ServerError(f"the server {self.profile.name} ended while starting: {self._last_lines()}")
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, LookupError):
                if is_true():
                    return
            if time.perf_counter() > deadline:
                raise ServerError(f"the server {self.profile.name} is not ready in time: {self._last_lines()}")
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        address = Address("inference_address", "127.0.0.1", self.profile.ports.inference)
        status, body = ask(address, "/predictions/tweets", EXAMPLE, "text/plain", timeout_s=START_TIMEOUT_S)
        return status == http.client.OK and bool(json.loads(body)["label"] == "disaster")

    def _has_all_workers(self) -> bool:
        address = Address("management_address", "127.0.0.1", self.profile.ports.management)
        status, body = ask(address, "/models/tweets")
        workers = json.loads(body)[0]["workers"] if status == http.client.OK else []
        return sum(1 for worker in workers if worker["status"] == "READY") >= self.profile.workers

    def _last_lines(self) -> str:
        log = self.profile.root / "logs" / "console.log"
        return log.read_text(encoding="utf-8", errors="replace")[-1000:] if log.is_file() else "no console"


def end_as_interrupted() -> None:
    """Let SIGTERM end this program as Ctrl-C does, so that no server is left behind, held or not."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextlib.contextmanager
def running(profile: Profile, timeout_s: float = START_TIMEOUT_S) -> Iterator[Server]:
    """Start a server, wait until it answers right, and stop it in the end, whatever happens.

    Raises:
        ServerError: it does not come up; the message has the end of its console.
    """
    # Sockets of the workers lie in it, and a socket's path may have 107 bytes.
    temp = Path(tempfile.mkdtemp(prefix="bench-"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TS_")}
    bin_dir = Path(sys.executable).parent
    variables = server_environment({**kept, "TMPDIR": str(temp), "TEMP": str(temp)}, bin_dir)
    program = [str(bin_dir / "torchserve")] if profile.protected else UNPROTECTED
    command = [*program, "--start", "--ncs", "--model-store", STORE, "--models", ARCHIVE]
    server = None
    try:
        started = time.perf_counter()
        with (profile.root / "logs" / "console.log").open("ab") as console:
            subprocess.run(
                [*command, "--ts-config", "config.properties"],
                cwd=profile.root,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then stops the server
                timeout=timeout_s,
                check=False,
            )
        pid_file = temp / PID_FILE
        if not pid_file.is_file():
            raise ServerError(f"torchserve left no pid for {profile.name}; see {profile.root}/logs/console.log")
        server = Server(profile, psutil.Process(int(pid_file.read_text())), temp, started)
        with guarded(server.java_pid):
            server.wait_until_right(timeout_s)
            yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(temp, ignore_errors=True)
