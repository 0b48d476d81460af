"""A real TorchServe as the production image runs it: under disaster-tweets supervise, which starts it again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from export.signing import KEYS
from ops.settings.server import ARCHIVE
from tests.serving.torchserve_process import (
    ENVIRONMENT_KEPT,
    Ports,
    ServerFailedError,
    TorchServeProcess,
    is_alive,
)
from tests.support.signed_archive import seal

PID_FILE = ".model_server.pid"


@dataclass
class SupervisedServer:
    """The supervisor and, through it, whichever TorchServe runs just now.

    Args:
        root: as `make_root` made it, with an archive.
        ports: of its config.properties.
        temp: TMPDIR of all its processes.
        supervisor: the process.
    """

    root: Path
    ports: Ports
    temp: Path
    supervisor: subprocess.Popen[bytes] = field(repr=False)

    @classmethod
    def start(cls, root: Path, ports: Ports) -> SupervisedServer:
        """Sign the root's archive and start the supervisor; the server is not ready yet."""
        temp = Path(tempfile.mkdtemp(prefix="ts-", dir="/tmp" if os.path.isdir("/tmp") else None))
        inherited = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
        scripts = Path(sys.executable).parent
        environment = {**inherited, "TMPDIR": str(temp), "TEMP": str(temp)}
        environment["PATH"] = f"{scripts}{os.pathsep}{environment.get('PATH', os.defpath)}"
        (root / "logs").mkdir(exist_ok=True)
        # Where TorchServeProcess looks; ours is outside, for a full disk's sake.
        (root / "logs" / "console.log").touch()
        seal(root / ARCHIVE, root / KEYS)
        golden = root / "model_store" / "tweets.golden.json"
        if not golden.exists():  # the doctor asks for it; here nobody asks golden tweets
            golden.write_text("[]", encoding="utf-8")
        with (root / "console.log").open("ab") as console:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "ops.serve.supervisor", "--folder", str(root), "--max-restarts", "20"],
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        return cls(root, ports, temp, supervisor)

    def __enter__(self) -> SupervisedServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def console(self) -> str:
        """Return what supervisor and server printed."""
        return (self.root / "console.log").read_text(encoding="utf-8", errors="replace")

    def running(self) -> TorchServeProcess:
        """Return the TorchServe that runs now.

        Raises:
            ServerFailedError: none does.
        """
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            # In the private folder that the supervisor makes for this root.
            (pid_file,) = self.temp.glob(f"*/{PID_FILE}")
            java = psutil.Process(int(pid_file.read_text(encoding="utf-8")))
            if is_alive(java):
                return TorchServeProcess(self.root, self.ports, ("tweets",), self.temp, java)
        raise ServerFailedError(f"no TorchServe runs:\n{self.console()[-2000:]}")

    def wait_ready(self, timeout_s: float = 180) -> TorchServeProcess:
        """Wait for a server with all its workers READY, and return it."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                server = self.running()
                server.wait_ready(max(1.0, deadline - time.monotonic()))
                return server
            except ServerFailedError:
                if time.monotonic() > deadline or self.supervisor.poll() is not None:
                    raise
                time.sleep(0.2)

    def stop(self) -> int:
        """Stop the supervisor, and with it everything; return its exit status."""
        if self.supervisor.poll() is None:
            self.supervisor.terminate()
        try:
            status = self.supervisor.wait(60)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            status = self.supervisor.wait()
        shutil.rmtree(self.temp, ignore_errors=True)
        return status
