"""Record which raw files a prepared table was made from, and stop when one has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.errors import DatasetError
from training.raw_tables import RawTable
from tweetclf.bundle import sha256_of

LOCK_FILE = "data.lock.json"


def lock_entries(folder: Path, tables: Sequence[RawTable]) -> dict[str, dict[str, str | int]]:
    """Return file name (relative to the raw folder) -> `{"sha256", "rows"}` for every file that was read."""
    entries: dict[str, dict[str, str | int]] = {}
    for table in tables:
        name = table.path.relative_to(folder).as_posix()
        entries[name] = {"sha256": sha256_of(table.path), "rows": len(table.rows)}
    agreement = folder / "train_agreement.csv"
    if agreement.is_file():
        with_agreement = sum(row.agreement is not None for table in tables for row in table.rows)
        entries[agreement.name] = {"sha256": sha256_of(agreement), "rows": with_agreement}
    return entries


def check_against(lock_path: Path, entries: Mapping[str, Mapping[str, str | int]]) -> None:
    """Raise DatasetError when a file that an earlier lock names has another content now; names both hashes.

    A lock that is not there yet locks nothing; files that are new or no longer there are no change.
    """
    if not lock_path.is_file():
        return
    before = read_lock(lock_path)
    for name, entry in entries.items():
        if name in before and before[name]["sha256"] != entry["sha256"]:
            raise DatasetError(
                f"{name} has sha256 {entry['sha256']}; {lock_path} expects {before[name]['sha256']}: the file has "
                "changed since the table was prepared; restore it, or pass --accept-changed to prepare it anew"
            )


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
    path.write_text(json.dumps({"files": dict(sorted(entries.items()))}, indent=2) + "\n", encoding="utf-8")
