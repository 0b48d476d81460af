"""Ways to hurt a running server, each bounded and each undone by itself or by what it returns."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.supervised_server import SupervisedServer

Inflict = Callable[[SupervisedServer], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        name: of its line in the report.
        inflict: a context in which it lasts.
        short: whether the ordinary suite tries it, too.
    """

    name: str
    inflict: Inflict
    short: bool = False


@contextlib.contextmanager
def kill_worker(server: SupervisedServer) -> Iterator[None]:
    """kill -9 the Python worker."""
    for pid in server.running().worker_pids():
        os.kill(pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def kill_java(server: SupervisedServer) -> Iterator[None]:
    """kill -9 the Java front end."""
    os.kill(server.running().java.pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def restart(server: SupervisedServer) -> Iterator[None]:
    """End the front end in an orderly way, as a change of its settings does; the supervisor starts it again."""
    server.running().java.terminate()
    yield


@contextlib.contextmanager
def stop_worker(server: SupervisedServer) -> Iterator[None]:
    """SIGSTOP the worker: it hangs until TorchServe's responseTimeout, and is then replaced."""
    for pid in server.running().worker_pids():
        os.kill(pid, signal.SIGSTOP)
    yield


@contextlib.contextmanager
def full_disk(server: SupervisedServer) -> Iterator[None]:
    """Fill the file system of the logs to the last byte, and kill a worker on top, so that there is much to log."""
    filler = server.root / "logs" / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    try:
        with kill_worker(server):
            yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def half_open_clients(server: SupervisedServer) -> Iterator[None]:
    """Hold 200 connections that never finish their request, a byte of a header now and then on half of them."""
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.ports.inference), timeout=30))
            for _ in range(200)
        ]
        for connection in connections[::2]:
            connection.sendall(b"POST /predictions/tweets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n")
        for _ in range(10):
            for connection in connections[::2]:
                with contextlib.suppress(OSError):  # the other side may have had enough
                    connection.sendall(b"X")
            time.sleep(0.1)
        yield


FAULTS = (
    Fault("kill -9 of the worker", kill_worker, short=True),
    Fault("kill -9 of the Java front end", kill_java),
    Fault("worker stopped (SIGSTOP), past responseTimeout", stop_worker),
    Fault("disk of the logs full, and the worker killed", full_disk),
    Fault("200 half-open and dripping connections", half_open_clients),
    Fault("orderly restart of the front end", restart),
)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """Mount a small file system of memory on a folder; say whether that was allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)
