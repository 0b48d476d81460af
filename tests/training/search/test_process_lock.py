"""The lock keeps others out, and dies with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from training.errors import TrainingError
from training.search.process_lock import ProcessLock

HOLDER = """
import sys, time
from pathlib import Path
from training.search.process_lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_acquire_of_a_lock_that_is_held_says_no_until_it_is_released(tmp_path: Path) -> None:
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    with first:
        assert not second.acquire(wait=False)
    assert second.acquire(wait=False)
    second.release()
    with pytest.raises(RuntimeError, match="is not locked by this object"):
        second.release()


def test_acquire_after_the_holder_was_killed_succeeds_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not ProcessLock(path).acquire(wait=False)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(60)
        assert ProcessLock(path).acquire(wait=False)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_acquire_where_the_file_system_has_no_locks_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(TrainingError, match=r"lock cannot be locked: its file system has no locks \(.*hpo.study_dir"):
        ProcessLock(tmp_path / "lock").acquire()


def test_acquire_where_no_file_can_be_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be opened as a lock"):
        ProcessLock(tmp_path / "missing" / "lock").acquire()
