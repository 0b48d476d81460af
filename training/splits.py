"""Divide the prepared tweets so that no tweet is judged by a model that has read its near-duplicate.

A whole near-duplicate group falls into one part, whatever collections its rows come from, by the hash of its
name: rows that are added later move no other row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from training.errors import DatasetError
from training.labels import KAGGLE, T6
from training.make_dataset import TIE

TRAIN, CALIBRATION, DEV = "train", "calibration", "dev"


@dataclass(frozen=True)
class SplitSettings:
    """Sizes of the parts.

    Args:
        seed: another seed is another division.
        dev_share: of the groups, for the reported figures only.
        calibration_share: of the groups, for temperature and thresholds only.
    """

    seed: int = 0
    dev_share: float = 0.2
    calibration_share: float = 0.08

    def __post_init__(self) -> None:
        if not (self.dev_share > 0 and self.calibration_share > 0 and self.dev_share + self.calibration_share < 1):
            raise DatasetError(
                f"dev_share={self.dev_share}, calibration_share={self.calibration_share}; expected two positive "
                "shares that leave something to train on"
            )


def part_of(group: str, settings: SplitSettings) -> str:
    """Return the part, TRAIN, CALIBRATION or DEV, of a near-duplicate group."""
    digest = hashlib.sha256(f"{settings.seed}:{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < settings.dev_share:
        return DEV
    return CALIBRATION if position < settings.dev_share + settings.calibration_share else TRAIN


def split(table: pd.DataFrame, settings: SplitSettings) -> dict[str, pd.DataFrame]:
    """Return the rows of each part, all collections.

    Args:
        table: has a column `group`.
        settings: sizes and seed.

    Raises:
        DatasetError: a part is empty.
    """
    parts_by_group = {group: part_of(group, settings) for group in table["group"].unique()}
    parts = table["group"].map(parts_by_group)
    result = {part: table[parts == part].reset_index(drop=True) for part in (TRAIN, CALIBRATION, DEV)}
    for part, rows in result.items():
        if rows.empty:
            raise DatasetError(f"no row of {len(table)} falls into {part}; expected some; the table is too small")
    return result


def to_learn_from(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a distinct text, its `target` the label that equal texts agree on; ties are left out."""
    chosen = rows[rows["first"] & (rows["agreed_target"] != TIE)]
    return chosen.assign(target=chosen["agreed_target"])


def training_mixture(train: pd.DataFrame, t6_events: tuple[str, ...], t6_per_event: int, seed: int) -> pd.DataFrame:
    """Return Kaggle's texts and the same number of CrisisLexT6 texts from each event, drawn by seed.

    Args:
        train: rows of the part TRAIN.
        t6_events: names of the events to draw from; others are not touched.
        t6_per_event: texts an event; 0 trains on Kaggle alone.
        seed: of the draw.

    Raises:
        DatasetError: an event is missing or has fewer texts.
    """
    texts = to_learn_from(train)
    chosen = [texts[texts["source"] == KAGGLE]]
    for event in t6_events if t6_per_event else ():
        rows = texts[(texts["source"] == T6) & (texts["event"] == event)]
        if len(rows) < t6_per_event:
            raise DatasetError(
                f"CrisisLexT6 event {event} has {len(rows)} texts to train on; expected {t6_per_event}; add its file "
                "to crisislex/t6 and prepare the data again, or lower data.t6_per_event"
            )
        generator = np.random.default_rng([seed, *event.encode()])
        positions = np.sort(generator.choice(len(rows), t6_per_event, replace=False))
        chosen.append(rows.iloc[positions])
    return pd.concat(chosen, ignore_index=True)


def assert_no_leak(**parts: pd.DataFrame) -> None:
    """Raise DatasetError when two parts share a group or a normalised text; names both parts."""
    for column in ("group", "normalised"):
        owner: dict[Any, str] = {}
        for name, rows in parts.items():
            for value in rows[column].unique():
                if owner.setdefault(value, name) != name:
                    raise DatasetError(f"{name} and {owner[value]} share a {column}; expected none; this is a bug")
