"""Where a model's tweets are from, under which terms, and how many of them it read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.data.labels import KAGGLE, T6, T26
from training.reports.report_tables import table
from training.data.splits import CALIBRATION, TRAIN

# Start of the raw files' names -> collection, what it is and its terms.
_COLLECTIONS: Mapping[str, tuple[str, str, str]] = {
    "train.csv": (
        KAGGLE,
        'Kaggle "Natural Language Processing with Disaster Tweets", train file; labels by the crowd of Figure Eight',
        "Kaggle's rules: not to be passed on",
    ),
    "train_agreement.csv": (
        "",
        'the crowd\'s agreement on those labels, Figure Eight, "Data for Everyone"',
        "as above",
    ),
    "crisislex/t6/": (T6, "CrisisLexT6 (Olteanu et al. 2014)", "MIT; the tweets stay their authors'"),
    "crisislex/t26/": (T26, "CrisisLexT26 (Olteanu et al. 2015)", "MIT; the tweets stay their authors'"),
}


def provenance_table(training: Mapping[str, Any]) -> str:
    """Return one row a collection as Markdown: what it is, its terms, its raw files how many rows an epoch reads.

    Args:
        training: content of training.json.
    """
    rows = []
    for start, (source, what, terms) in _COLLECTIONS.items():
        files = [entry for name, entry in training["data"].items() if name.startswith(start)]
        if not files:
            continue
        used = [f"{training['rows'].get(part, {}).get(source, 0):,}" if source else "" for part in (TRAIN, CALIBRATION)]
        rows.append([what, terms, str(len(files)), f"{sum(int(entry['rows']) for entry in files):,}", *used])
    return table(["collection", "terms", "files", "rows in them", "read an epoch", "calibrated on"], rows)
