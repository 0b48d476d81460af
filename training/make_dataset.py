"""Prepare the training table from the collections' raw files: `python -m training.make_dataset --from FOLDER`.

Every usable row stays, with its own label, the label that equal texts agree on, and its near-duplicate group.
Raw files are only read.
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

from training.data_lock import LOCK_FILE, check_against, lock_entries, write_lock
from training.download import download
from training.duplicates import group_near_duplicates, majority_targets
from training.errors import DatasetError
from training.raw_tables import RawTable, RawTweet, read_folder
from tweetclf.text import NORMALISER_VERSION, has_content, normalise

TABLE_FILE = "tweets.parquet"
REPORT_FILE = "report.json"
NO_CONTENT = "nothing but links and mentions"
COLUMNS = (
    "id",
    "source",
    "event",
    "keyword",
    "text",
    "normalised",
    "target",  # the row's own label
    "agreed_target",  # the majority label of all rows with this normalised text; TIE where there is none
    "first",  # of the rows with this normalised text; Kaggle's come first
    "group",  # near-duplicates share it: the id of their first row
    "agreement",
)
TIE = -1

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
    parser.add_argument("--out", type=Path, default=Path("data/processed"), help="default: %(default)s")
    parser.add_argument("--accept-changed", action="store_true", help="prepare anew although a raw file has changed")
    options = parser.parse_args(arguments)
    try:
        if options.download:
            download(options.raw)
        report = make_dataset(options.folder or options.raw, options.out, options.accept_changed)
    except DatasetError as error:
        print(f"data refused: {error}", file=sys.stderr)
        return 1
    for name, reasons in report["skipped"].items():
        print(f"left out of {name}: {reasons}", file=sys.stderr)
    print(f"{options.out / TABLE_FILE}: {json.dumps(report['rows'])}")
    return 0


def make_dataset(folder: Path, out: Path, accept_changed: bool = False) -> dict[str, Any]:
    """Write `tweets.parquet`, `data.lock.json` and `report.json`.

    Args:
        folder: raw files, only read.
        out: is made when missing.
        accept_changed: go on when a raw file differs from the lock of an earlier call.

    Returns:
        The report: counts of rows, of what was left out and why, of duplicates and contradictions.

    Raises:
        DatasetError: a raw file is missing, changed or cannot be used.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; expected one with train.csv and crisislex/t6/*.csv")
    tables = read_folder(folder)
    entries = lock_entries(folder, tables)
    if not accept_changed:
        check_against(out / LOCK_FILE, entries)
    table, report = prepare(tables)
    out.mkdir(parents=True, exist_ok=True)
    table.to_parquet(out / TABLE_FILE, index=False)
    write_lock(out / LOCK_FILE, entries)
    (out / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


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
    return frame, _report(frame, skipped)


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
