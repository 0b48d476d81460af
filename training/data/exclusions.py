"""Rows that a training leaves out since their label is held to be wrong: versioned files of ids and reasons."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from training.errors import DatasetError

ROOT = Path(__file__).resolve().parents[2]


def without_excluded(rows: pd.DataFrame, path: str) -> pd.DataFrame:
    """Return the training rows that are not listed.

    Args:
        rows: of a training part; parts for figures and thresholds keep every row, whatever its label.
        path: of a file of `python -m training.experiments.label_noise`, from the root of the repository or absolute;
            "" excludes nothing.

    Raises:
        DatasetError: the file cannot be used, or none of its ids is among the rows: it is of other data.
    """
    if not path:
        return rows
    excluded = excluded_ids(ROOT / path)
    listed = rows["id"].isin(excluded)
    if excluded and not listed.any():
        raise DatasetError(
            f"{path} lists {len(excluded)} rows, none of which is among the {len(rows)} to train on; expected a file "
            'made of this data; make it again or set data.exclusions to ""'
        )
    return rows[~listed].reset_index(drop=True)


def excluded_ids(path: Path) -> set[str]:
    """Return the ids of a file of exclusions.

    Raises:
        DatasetError: it is missing or no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(entry["id"]) for entry in content["excluded"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is no file of exclusions ({type(error).__name__}); expected what "
            '`python -m training.experiments.label_noise` writes; set data.exclusions to it, or to "" for none'
        ) from error
