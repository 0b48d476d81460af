"""Locks and files that a crash cannot leave half done."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.05


class LockedError(RuntimeError):
    """Another program holds the lock, or the file system has none; the message names the path."""


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
        if not _wait_for(file.fileno(), path, timeout_s):
            raise LockedError(f"pid {lock_holder(path) or 'unknown'} holds {path}")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextlib.contextmanager
def locked_folder(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock of a folder that exists; no file is made in it, so nothing in it gets another owner.

    Raises:
        LockedError: another program holds it, or the file system has no locks.
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not _wait_for(descriptor, path, timeout_s):
            raise LockedError(f"another process holds the lock on {path}")
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a program holds the lock; a path that does not exist is not locked.

    Raises:
        LockedError: the file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(descriptor, fcntl.LOCK_SH, path)
    finally:
        os.close(descriptor)


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


def _wait_for(descriptor: int, path: Path, timeout_s: float) -> bool:
    """Take the only lock within a time; return whether that came about."""
    deadline = time.monotonic() + timeout_s
    while not _take(descriptor, fcntl.LOCK_EX, path):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _take(descriptor: int, kind: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise LockedError(f"{path} cannot be locked ({error.strerror}); use a file system with locks") from None
    return True
