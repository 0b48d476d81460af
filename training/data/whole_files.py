"""Write files that appear under their name only when they are whole, and tell a full disk from other trouble."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import DatasetError

PARTIAL_SUFFIX = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it when the block ends well, remove it otherwise.

    Raises:
        DatasetError: the disk is full, or the folder cannot be written to.
    """
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield partial
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def partial_of(path: Path) -> Path:
    """Return where a file is written until it is whole."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def write_error(path: Path, error: OSError) -> DatasetError:
    """Return what to raise when a file could not be written."""
    if error.errno in _FULL:
        return DatasetError(
            f"{path} cannot be written: no space left on its disk; expected room for the whole file; nothing half-made "
            "stands under its name; free some space and call again"
        )
    return DatasetError(f"{path} cannot be written ({error.strerror or error}); expected a folder that can be written")


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise DatasetError when the disk of a folder, made or not, has less free space than the work will need."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free_bytes = shutil.disk_usage(there).free
    if free_bytes < needed_bytes:
        raise DatasetError(
            f"{folder} lies on a disk with {free_bytes / 1e6:.0f} MB free; expected {needed_bytes / 1e6:.0f} MB; free "
            "some space, or choose another folder"
        )
