"""Locks that the kernel takes back from a process however it ends, kill -9 included."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from training.errors import TrainingError


class ProcessLock:
    """Exclusive lock on a file; a context manager.

    Unlike a lock that is a file, it needs no grace period after which a dead owner is believed dead. It is for
    processes of one machine: network file systems may not keep such locks. Has the two methods that
    Optuna's journal asks of a lock.

    Args:
        path: is made when missing, and stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Take the lock; return False when another process has it and `wait` is false.

        Raises:
            TrainingError: the file cannot be made, or its file system has no locks.
        """
        try:
            # Not inheritable: a process that this one starts must not keep the lock alive.
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise TrainingError(
                f"{self._path} cannot be opened as a lock ({error.strerror}); expected a folder that can be written to"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(file)
            return False
        except OSError as error:
            os.close(file)
            raise TrainingError(
                f"{self._path} cannot be locked: its file system has no locks ({error.strerror}); expected a disk of "
                "this machine; choose a folder on one (hpo.study_dir)"
            ) from error
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file is None:
            raise RuntimeError(f"{self._path} is not locked by this object; expected acquire before release")
        os.close(self._file)
        self._file = None

    def __enter__(self) -> ProcessLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
