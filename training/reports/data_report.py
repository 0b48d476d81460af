"""Count what a prepared table holds, for the data card: numbers and names of events only, no tweet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.labels import KAGGLE, LABEL_MAP, T6, T26
from training.data.language_guess import looks_english
from training.data.split_kinds import keyword_split
from training.data.splits import SplitSettings, split
from training.data.table_schemas import TIE

MAX_TOKENS = 128  # of the default recipe's input
TOKEN_BIN = 8
GROUP_BINS = (1, 2, 3, 6, 11, 51)
AGREEMENT_EDGES = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
UNANIMOUS = 0.995  # the shares are rounded
# In a raw text. A hashtag or mention begins a word; numbers such as #1 are none.
_TRAITS = {
    "with_mention": r"(?<![\w&])@\w",
    "with_link": r"https?://",
    "with_hashtag": r"(?<![\w&])#[^\W\d]\w*",
    "retweet": r"^\s*RT @",
}


def data_report(
    table: pd.DataFrame, prepared: Mapping[str, Any], lock: Mapping[str, Mapping[str, Any]], tokens: Sequence[int]
) -> dict[str, Any]:
    """Return the figures of the data card.

    Args:
        table: prepared rows, all collections.
        prepared: the data step's report of the same table.
        lock: the data step's lock of the same table.
        tokens: of each row's normalised text, special ones included.
    """
    table = table.assign(tokens=np.asarray(tokens, np.int64))
    sources = [source for source in LABEL_MAP if (table["source"] == source).any()]
    return {
        "normaliser_version": prepared["normaliser_version"],
        "files": {name: dict(entry) for name, entry in lock.items()},
        "rows": len(table),
        "distinct_texts": int(table["first"].sum()),
        "label_map": {source: dict(LABEL_MAP[source]) for source in sources},
        "collections": {
            source: _collection(table[table["source"] == source], _skipped(prepared, lock, source))
            for source in sources
        },
        "events": _events(table),
        "tokens": _lengths(table),
        "groups": _groups(table),
        "contradictions": _contradictions(table),
        "agreement": _agreement(table),
        "parts": _parts(table) if KAGGLE in sources else {},
    }


def _collection(rows: pd.DataFrame, skipped: dict[str, int]) -> dict[str, Any]:
    text = rows["text"].astype(str)
    found = {
        "rows": len(rows),
        "distinct_texts": int(rows["normalised"].nunique()),
        "positive": int(rows["target"].sum()),
        "positive_share": _share(rows["target"]),
        "skipped": skipped,
        "skipped_rows": sum(skipped.values()),
        "english_share": _share([looks_english(value) for value in text]),
    }
    found |= {f"{name}_share": _share(text.str.contains(pattern)) for name, pattern in _TRAITS.items()}
    found["keywords"] = int(rows.loc[rows["keyword"] != "", "keyword"].nunique())
    found["without_keyword"] = int((rows["keyword"] == "").sum())
    return found


def _skipped(prepared: Mapping[str, Any], lock: Mapping[str, Any], source: str) -> dict[str, int]:
    """Return reason -> rows left out of a collection; the report names files, the lock tells where they lie."""
    folder = {T6: "t6", T26: "t26"}.get(source, "")
    names = {path.name for path in map(PurePosixPath, lock) if path.parent.name == folder}
    total: dict[str, int] = {}
    for name, reasons in prepared["skipped"].items():
        for reason, count in reasons.items() if name in names else ():
            total[reason] = total.get(reason, 0) + count
    return total


def _events(table: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for (source, event), rows in table[table["event"] != ""].groupby(["source", "event"]):
        positive = int(rows["target"].sum())
        counts = {"rows": len(rows), "positive": positive, "distinct_texts": int(rows["normalised"].nunique())}
        found.append({"source": source, "event": event, **counts})
    return found


def _lengths(table: pd.DataFrame) -> dict[str, Any]:
    edges = [*range(0, MAX_TOKENS + 1, TOKEN_BIN), np.inf]
    found: dict[str, Any] = {"bin_tokens": TOKEN_BIN, "max_tokens": MAX_TOKENS, "collections": {}}
    for source, rows in table.groupby("source", sort=False):
        tokens = rows["tokens"]
        found["collections"][source] = {
            "mean": round(float(tokens.mean()), 1),
            "median": int(tokens.median()),
            "percentile_99": int(tokens.quantile(0.99)),
            "largest": int(tokens.max()),
            "longer_than_max": int((tokens > MAX_TOKENS).sum()),
            "histogram": _histogram(tokens, edges),
        }
    return found


def _groups(table: pd.DataFrame) -> dict[str, Any]:
    texts = table[table["first"]].groupby("group").size()
    by_group = table.groupby("group")
    crisis = table.loc[table["event"] != ""].assign(crisis=lambda rows: rows["event"].str.lower())
    edges = (*GROUP_BINS, np.inf)
    labels = ("1", "2", "3-5", "6-10", "11-50", "51 and more")
    return {
        "number": len(texts),
        "of_one_text": int((texts == 1).sum()),
        "sizes": dict(zip(labels, _histogram(texts, edges), strict=True)),  # distinct texts in a group -> groups
        "largest": sorted((int(size) for size in texts), reverse=True)[:5],
        "exact_copies": int((~table["first"]).sum()),
        "across_collections": int((by_group["source"].nunique() > 1).sum()),
        "across_crises": int((crisis.groupby("group")["crisis"].nunique() > 1).sum()),
    }


def _contradictions(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    found = {}
    for source, rows in table.groupby("source", sort=False):
        labels_of_text = rows.groupby("normalised")["target"].transform("nunique")
        labels_of_group = rows.groupby("group")["target"].transform("nunique")
        found[str(source)] = {
            "texts": int(rows.loc[labels_of_text > 1, "normalised"].nunique()),
            "rows": int((labels_of_text > 1).sum()),
            "groups": int(rows.loc[labels_of_group > 1, "group"].nunique()),
            "rows_of_groups": int((labels_of_group > 1).sum()),
            "ties": int(rows.loc[rows["agreed_target"] == TIE, "normalised"].nunique()),
        }
    return found


def _agreement(table: pd.DataFrame) -> dict[str, Any]:
    rows = table[table["agreement"].notna()]
    share = rows["agreement"].astype("float64")
    if rows.empty:
        return {"rows": 0}
    return {
        "rows": len(rows),
        "mean": round(float(share.mean()), 4),
        "unanimous_share": _share(share >= UNANIMOUS),
        "below_0.7_share": _share(share < 0.7),
        "not_the_majority": int((share < 0.5).sum()),
        "edges": list(AGREEMENT_EDGES),
        "histogram": _histogram(share, AGREEMENT_EDGES),
    }


def _parts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the Kaggle rows of each part of the two divisions that no one event or collection defines."""
    divisions = {"random": split(table, SplitSettings())}
    if (table["keyword"] != "").any():
        divisions["keyword"] = keyword_split(table, SplitSettings())
    return {
        name: {part: int((rows["source"] == KAGGLE).sum()) for part, rows in parts.items()}
        for name, parts in divisions.items()
    }


def _share(values: npt.ArrayLike | pd.Series) -> float:
    return round(float(np.asarray(values, dtype=np.float64).mean()), 4)


def _histogram(values: pd.Series, edges: Sequence[float]) -> list[int]:
    counts, _ = np.histogram(values.to_numpy(dtype=np.float64), bins=np.asarray(edges, dtype=np.float64))
    return [int(count) for count in counts]
