"""Locks and files that a crash cannot leave half done."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.2


class LockedError(RuntimeError):
    """Another program holds the lock; the message names its pid."""


@contextlib.contextmanager
def locked(path: Path, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file; the system gives it back when this process ends, however it ends.

    Args:
        path: is made where it is missing, and stays; this process's pid is written into it.
        timeout_s: how long to wait for another holder.

    Raises:
        LockedError: another program holds it, or the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Open for writing: some network file systems lock nothing else. Children do not inherit it (PEP 446).
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockedError(f"pid {lock_holder(path) or 'unknown'} holds {path}") from None
            except OSError as error:
                raise LockedError(f"{path} cannot be locked ({error.strerror}); use a file system with locks") from None
            time.sleep(POLL_S)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def lock_holder(path: Path) -> int | None:
    """Return the pid of the program that holds a lock, or None where nobody does."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (OSError, ValueError):
        pass
    return None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a power loss, finds the old content or the new one and nothing between.

    Raises:
        OSError: the disk is full or the folder may not be written; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too
    finally:
        os.close(folder)
