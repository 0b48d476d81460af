"""A server that a killed benchmark held, and one whose benchmark ends as it should."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmark.servers.orphan_guard import guarded
from tests.conftest import ROOT

SERVER = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
BENCHMARK = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from benchmark.servers.orphan_guard import guarded
with guarded(int(sys.argv[2])):
    for pid in sys.argv[2:]:
        os.kill(int(pid), signal.SIGSTOP)
    print("held", flush=True)
    sys.stdin.read()
"""


def start_server() -> tuple[subprocess.Popen[str], psutil.Process]:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, psutil.Process(int(server.stdout.readline()))


def wait_until_stopped(process: psutil.Process) -> None:
    """Wait for the kernel: kill() returns before a process on another core has stopped."""
    deadline = time.monotonic() + 60
    while process.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, f"process {process.pid} is {process.status()}, not stopped"
        time.sleep(0.01)


def test_server_when_its_benchmark_is_killed_then_ends_with_its_workers_although_held(tmp_path: Path) -> None:
    server, worker = start_server()
    command = [sys.executable, "-c", BENCHMARK, str(ROOT / "scripts"), str(server.pid), str(worker.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        assert benchmark.stdout.readline() == "held\n"
        wait_until_stopped(worker)
        benchmark.kill()
    server.communicate(timeout=60)
    assert server.returncode == -signal.SIGKILL
    worker.wait(60)


def test_server_when_the_block_ends_then_goes_on() -> None:
    server, worker = start_server()
    with guarded(server.pid):
        assert server.poll() is None
    assert server.poll() is None
    worker.kill()
    server.communicate(timeout=60)
    assert server.returncode == 0


def test_guarded_when_the_server_is_dead_already_then_nothing_is_raised() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    with guarded(dead.pid):
        pass
