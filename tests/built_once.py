"""Build what is slow to build once for a whole run, also when pytest-xdist runs the tests in several processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

WORKER_VARIABLE = "PYTEST_XDIST_WORKER"


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return a folder that the first process of the run fills; the others wait for it. Treat it as read-only.

    A build that fails leaves nothing, and the next process that needs it tries again.

    Args:
        factory: pytest's.
        name: of the folder, one for each thing that is built.
        build: fills the folder, which does not exist yet.

    Source: pytest-xdist 3.8, documentation, "Making session-scoped fixtures execute only once".
    """
    root = factory.getbasetemp()
    if WORKER_VARIABLE in os.environ:
        root = root.parent  # each worker has a folder of its own in that of the run
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            done.touch()
    return folder
