"""Divide the prepared tweets so that no tweet is judged by a model that has read its near-duplicate.

A whole near-duplicate group falls into one part, whatever collections its rows come from, by the hash of its
name: rows that are added later move no other row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from training.data.labels import KAGGLE, T26
from training.data.language_guess import looks_english
from training.data.table_schemas import TIE
from training.errors import DatasetError

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


def position_of(group: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on the name of a near-duplicate group and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def part_of(group: str, settings: SplitSettings) -> str:
    """Return the part, TRAIN, CALIBRATION or DEV, of a near-duplicate group."""
    position = position_of(group, settings.seed)
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


@dataclass(frozen=True)
class EventShare:
    """Texts of one event that join Kaggle's in the training.

    Args:
        source: collection of the event.
        event: its name.
        texts: drawn by seed.
        up_to: takes what is there when the event has fewer; False refuses.
    """

    source: str
    event: str
    texts: int
    up_to: bool = False


def training_mixture(train: pd.DataFrame, shares: Sequence[EventShare], seed: int) -> pd.DataFrame:
    """Return Kaggle's texts and some of other collections' events, drawn by seed.

    Of CrisisLexT26, which is in many languages, only texts that are guessed to be English are drawn.

    Args:
        train: rows of the part TRAIN.
        shares: what joins; other events are not touched.
        seed: of the draw.

    Raises:
        DatasetError: an event is missing or has fewer texts.
    """
    texts = to_learn_from(train)
    chosen = [texts[texts["source"] == KAGGLE]]
    for share in shares:
        rows = texts[(texts["source"] == share.source) & (texts["event"] == share.event)]
        if share.source == T26:
            rows = rows[[looks_english(text) for text in rows["normalised"]]]
        enough = len(rows) if share.up_to else share.texts
        if not 0 < enough <= len(rows):
            raise DatasetError(
                f"{share.source} event {share.event} has {len(rows)} texts to train on; expected {share.texts}; add "
                "its file to the raw folder and prepare the data again, or ask for fewer in `data`"
            )
        generator = np.random.default_rng([seed, *share.event.encode()])
        positions = np.sort(generator.choice(len(rows), min(share.texts, len(rows)), replace=False))
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
