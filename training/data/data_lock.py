"""Record which raw files a prepared table was made from, and stop when one has changed.

`data.lock.json` in the root of the repository is of the files that the default model was trained from; the data step
writes another beside each table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.data.raw_tables import RawTable
from training.data.whole_files import written_whole
from training.errors import DatasetError
from tweetclf.bundle import sha256_of

LOCK_FILE = "data.lock.json"


def lock_entries(folder: Path, tables: Sequence[RawTable]) -> dict[str, dict[str, str | int]]:
    """Return file name (relative to the raw folder) -> hashes and number of rows, for every file that was read.

    `sha256` is of the bytes, `content_sha256` of the rows that were read: another program's line ends or quotes change
    the first and not the second. The file of crowd agreement has the first only.
    """
    entries: dict[str, dict[str, str | int]] = {}
    for table in tables:
        name = table.path.relative_to(folder).as_posix()
        entries[name] = {
            "sha256": sha256_of(table.path),
            "content_sha256": _content_sha256(table),
            "rows": len(table.rows),
        }
    agreement = folder / "train_agreement.csv"
    if agreement.is_file():
        with_agreement = sum(row.agreement is not None for table in tables for row in table.rows)
        entries[agreement.name] = {"sha256": sha256_of(agreement), "rows": with_agreement}
    return entries


def check_against(lock_path: Path, entries: Mapping[str, Mapping[str, str | int]]) -> None:
    """Raise DatasetError when a file that an earlier lock names has other rows now; names both hashes.

    A lock that is not there yet locks nothing; files that are new or no longer there are no change.
    """
    if not lock_path.is_file():
        return
    before = read_lock(lock_path)
    for name, entry in entries.items():
        if name not in before or has_same_rows(before[name], entry):
            continue
        raise DatasetError(
            f"{name} has sha256 {entry['sha256']}; {lock_path} expects {before[name]['sha256']}, and its rows are "
            "others too: the file has changed since; restore it, or pass --accept-changed to prepare it anew"
        )


def has_same_rows(left: Mapping[str, str | int], right: Mapping[str, str | int]) -> bool:
    """Tell whether two entries are of the same file, or of files with the same rows."""
    if left["sha256"] == right["sha256"]:
        return True
    return "content_sha256" in left and left["content_sha256"] == right.get("content_sha256")


def locked_hashes(lock_path: Path) -> dict[str, str]:
    """Return file name -> sha256 of a lock, or nothing where there is none."""
    return {name: str(entry["sha256"]) for name, entry in read_lock(lock_path).items()} if lock_path.is_file() else {}


def read_lock(path: Path) -> dict[str, dict[str, str | int]]:
    """Return the entries of a lock file.

    Raises:
        DatasetError: it is missing or no JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files: dict[str, dict[str, str | int]] = content["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is no lock file ({type(error).__name__}); expected the hashes of the raw files; run "
            "`python -m training.make_dataset` again"
        ) from error
    return files


def write_lock(path: Path, entries: Mapping[str, Mapping[str, str | int]]) -> None:
    """Write the entries, sorted by name."""
    with written_whole(path) as partial:
        content = json.dumps({"files": dict(sorted(entries.items()))}, indent=2)
        partial.write_text(content + "\n", encoding="utf-8")


def _content_sha256(table: RawTable) -> str:
    digest = hashlib.sha256()
    for row in table.rows:
        digest.update(json.dumps([row.id, row.keyword, row.text, row.label]).encode() + b"\n")
    return digest.hexdigest()
