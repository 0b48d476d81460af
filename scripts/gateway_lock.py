"""Locks between processes, for the gateway's run folder and its file of keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.02


class LockedError(RuntimeError):
    """Another process holds the lock, or the file system has none; the message names the path."""


@contextlib.contextmanager
def locked(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the only lock on a file or folder; the kernel frees it when the process ends, however it ends.

    Args:
        path: exists.
        wait_s: how long another process may hold it.

    Raises:
        LockedError: it was not to be had.
        OSError: the path cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + wait_s
        while not _take(descriptor, fcntl.LOCK_EX, path):
            if time.monotonic() > deadline:
                raise LockedError(f"another process holds the lock on {path}")
            time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock; a path that does not exist is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(descriptor, fcntl.LOCK_SH, path)
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise LockedError(f"{path} cannot be locked ({error.strerror}); put it on a file system with locks") from None
    return True
