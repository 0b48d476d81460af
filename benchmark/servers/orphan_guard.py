"""End a server whose benchmark was killed: held by SIGSTOP, it would stay so for ever, and keep its memory and ports.

Started by the benchmark, with a pipe from it as standard input. The pipe ends with the benchmark, however that ends.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import psutil


@contextlib.contextmanager
def guarded(pid: int) -> Iterator[None]:
    """Let a server not outlive this program; inside the block nothing happens to it.

    Args:
        pid: of the front end; its children are ended with it.
    """
    guard = subprocess.Popen(
        [sys.executable, "-m", "benchmark.servers.orphan_guard", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the benchmark
    )
    try:
        if guard.stdout is not None:
            guard.stdout.read(1)  # from now on it watches
        yield
    finally:
        guard.kill()
        guard.communicate()


def main() -> int:
    """Wait for the end of the benchmark, then end the server."""
    try:
        server = psutil.Process(int(sys.argv[1]))
    except psutil.NoSuchProcess:
        return 0
    sys.stdout.write("w")
    sys.stdout.flush()
    sys.stdin.read()
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [*server.children(recursive=True), server]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # held or not
    return 0


if __name__ == "__main__":
    sys.exit(main())
