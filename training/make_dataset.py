"""Prepare the training table from the collections' raw files: `python -m training.make_dataset --from FOLDER`.

Raw files are only read. `interim/rows.parquet` has their rows as they were read, with the collections' own labels;
`processed/tweets.parquet` every usable row, normalised, with its own label, the label that equal texts agree on, and
its near-duplicate group.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from training.data.data_lock import LOCK_FILE, check_against, lock_entries, locked_hashes, write_lock
from training.data.download import download
from training.data.duplicates import group_near_duplicates, majority_targets
from training.data.raw_tables import RawTable, RawTweet, read_folder
from training.data.table_schemas import PREPARED_SCHEMA, TIE, failures_text, find_failures
from training.data.whole_files import require_space, written_whole
from training.errors import DatasetError
from tweetclf.text import NORMALISER_VERSION, has_content, normalise

TABLE_FILE = "tweets.parquet"
ROWS_FILE = "rows.parquet"
REPORT_FILE = "report.json"
NO_CONTENT = "nothing but links and mentions"
COLUMNS = tuple(PREPARED_SCHEMA.columns)
# Table and interim rows together have 1.5 times the bytes of the raw files; measured on all three collections.
SPACE_FACTOR = 2

EXAMPLE = """examples:
  python -m training.make_dataset --from ~/disaster-data      a folder with train.csv and crisislex/t6/*.csv
  python -m training.make_dataset --download                  from Kaggle (your token) and CrisisLex
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the table; return the exit status (0 done, 1 refused)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.make_dataset",
        description="Read, check, normalise, de-duplicate and group labelled tweets; write one Parquet table, the "
        "hashes of the raw files and a report.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help="raw files that are already here")
    origin.add_argument("--download", action="store_true", help="fetch the raw files into --raw first")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="for --download (default: %(default)s)")
    parser.add_argument("--interim", type=Path, default=Path("data/interim"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("data/processed"), help="default: %(default)s")
    parser.add_argument(
        "--lock", type=Path, default=Path(LOCK_FILE), help="hashes that the raw files must have (default: %(default)s)"
    )
    parser.add_argument("--accept-changed", action="store_true", help="prepare anew although a raw file has changed")
    options = parser.parse_args(arguments)
    try:
        if options.download:
            download(options.raw, {} if options.accept_changed else locked_hashes(options.lock))
        report = make_dataset(
            options.folder or options.raw, options.out, options.accept_changed, options.interim, options.lock
        )
    except DatasetError as error:
        print(f"data refused: {error}", file=sys.stderr)
        return 1
    for name, reasons in report["skipped"].items():
        print(f"left out of {name}: {reasons}", file=sys.stderr)
    print(f"{options.out / TABLE_FILE}: {json.dumps(report['rows'])}")
    return 0


def make_dataset(
    folder: Path, out: Path, accept_changed: bool = False, interim: Path | None = None, lock: Path | None = None
) -> dict[str, Any]:
    """Write `tweets.parquet`, `data.lock.json` and `report.json`.

    Args:
        folder: raw files, only read.
        out: is made when missing.
        accept_changed: go on when a raw file differs from a lock.
        interim: where `rows.parquet` goes, the rows as they were read; None writes none.
        lock: file with the hashes that the raw files must have, beside that of an earlier call in `out`.

    Returns:
        The report: counts of rows, of what was left out and why, of duplicates and contradictions.

    Raises:
        DatasetError: a raw file is missing, changed or cannot be used, or the disk is full.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; expected one with train.csv and crisislex/t6/*.csv")
    tables = read_folder(folder)
    entries = lock_entries(folder, tables)
    if not accept_changed:
        for path in (*([lock] if lock else []), out / LOCK_FILE):
            check_against(path, entries)
    require_space(out, SPACE_FACTOR * sum(table.path.stat().st_size for table in tables))
    if interim is not None:
        rows = pd.DataFrame(row for table in tables for row in table.rows)
        _write_table(interim / ROWS_FILE, rows.astype({"target": "int8", "agreement": "float32"}))
    table, report = prepare(tables)
    _write_table(out / TABLE_FILE, table)
    write_lock(out / LOCK_FILE, entries)
    with written_whole(out / REPORT_FILE) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with written_whole(path) as partial:
        table.to_parquet(partial, index=False)


def prepare(tables: Sequence[RawTable]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the prepared table (columns `COLUMNS`) and the report; see `make_dataset`."""
    rows, normals, skipped = _usable(tables)
    majority = majority_targets(normals, [row.target for row in rows])
    group_of = _group_names(rows, normals, majority)
    seen: set[str] = set()
    records = []
    for row, normal in zip(rows, normals, strict=True):
        agreed = majority[normal]
        records.append(
            (
                *(row.id, row.source, row.event, row.keyword, row.text, normal, row.target),
                *(TIE if agreed is None else agreed, normal not in seen, group_of[normal], row.agreement),
            )
        )
        seen.add(normal)
    frame = pd.DataFrame.from_records(records, columns=list(COLUMNS)).astype(
        {"target": "int8", "agreed_target": "int8", "agreement": "float32"}
    )
    check_prepared(frame, TABLE_FILE)
    return frame, _report(frame, skipped)


def check_prepared(table: pd.DataFrame, name: str) -> None:
    """Raise DatasetError when a prepared table breaks its schema; names table, rows (from 0) and columns.

    Source: the schema is `training.data.table_schemas.PREPARED_SCHEMA`.
    """
    failures = find_failures(PREPARED_SCHEMA, table.reset_index(drop=True))
    if failures:
        raise DatasetError(f"{name} {failures_text(failures)}; prepare the data again")


def _usable(tables: Sequence[RawTable]) -> tuple[list[RawTweet], list[str], dict[str, dict[str, int]]]:
    """Return the rows with something to classify, their normalised texts, and what was left out of each file."""
    skipped = {table.path.name: dict(table.skipped) for table in tables}
    rows, normals = [], []
    for table in tables:
        for row in tqdm(table.rows, desc=f"normalise {table.path.name}", unit="tweet", disable=None, leave=False):
            normal = normalise(row.text)
            if has_content(normal):
                rows.append(row)
                normals.append(normal)
            else:
                reasons = skipped[table.path.name]
                reasons[NO_CONTENT] = reasons.get(NO_CONTENT, 0) + 1
    return rows, normals, skipped


def _group_names(
    rows: Sequence[RawTweet], normals: Sequence[str], majority: Mapping[str, int | None]
) -> dict[str, str]:
    """Return normalised text -> name of its near-duplicate group."""
    first_ids: dict[str, str] = {}
    for row, normal in zip(rows, normals, strict=True):
        first_ids.setdefault(normal, row.id)
    # Texts without an agreed label come last: no group of texts to train on is named after one.
    distinct = sorted(first_ids, key=lambda normal: majority[normal] is None)
    groups = group_near_duplicates(
        distinct, tqdm(range(len(distinct)), desc="near-duplicates", unit="tweet", disable=None)
    )
    return {normal: first_ids[distinct[group]] for normal, group in zip(distinct, groups, strict=True)}


def _report(frame: pd.DataFrame, skipped: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    by_source = frame.groupby("source")
    distinct = frame[frame["first"]]
    labels_per_text = frame.groupby("normalised")["target"].nunique()
    return {
        "normaliser_version": NORMALISER_VERSION,
        "rows": {str(source): len(rows) for source, rows in by_source},
        "positive_share": {str(source): round(float(rows["target"].mean()), 4) for source, rows in by_source},
        "skipped": {name: dict(reasons) for name, reasons in skipped.items() if reasons},
        "distinct_texts": len(distinct),
        "contradictory_texts": int((labels_per_text > 1).sum()),
        "ties": int((distinct["agreed_target"] == TIE).sum()),
        "near_duplicate_groups": int(frame["group"].nunique()),
        "largest_groups_in_distinct_texts": distinct["group"].value_counts().head(10).tolist(),
    }


if __name__ == "__main__":
    sys.exit(main())
