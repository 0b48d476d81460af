"""Divide the prepared tweets by what a model must not have met: a keyword, an event, a whole collection.

`training.data.splits.split` divides at random and tells how a model does on more tweets of the same kind. These
three tell how it does on another kind. As there, a near-duplicate group lies in one part, whatever rows it has.

Each function returns the parts TRAIN, CALIBRATION and DEV; where something is held out, it is the part HELD_OUT, and
DEV is what `split` would judge on, less near-duplicates of HELD_OUT: one model can be judged on both.
"""

from __future__ import annotations

import hashlib

import pandas as pd

from training.data.labels import KAGGLE
from training.data.splits import CALIBRATION, DEV, TRAIN, SplitSettings, assert_no_leak, part_of, split
from training.errors import DatasetError

HELD_OUT = "held_out"


def keyword_split(table: pd.DataFrame, settings: SplitSettings) -> dict[str, pd.DataFrame]:
    """Return TRAIN, CALIBRATION and DEV with all rows of a Kaggle keyword in one of them.

    Keywords that share a near-duplicate group go together, as do the rows of their groups; rows without a keyword go
    by their group as in `split`. Different forms of a word ("bush fires", "bushfire") are different keywords.

    Args:
        table: prepared rows, all collections.
        settings: sizes, as shares of the rows with a keyword and of the other groups, and seed.

    Raises:
        DatasetError: a part is empty, or no row has a keyword.
    """
    with_keyword = table[(table["source"] == KAGGLE) & (table["keyword"] != "")]
    if with_keyword.empty:
        raise DatasetError(f"none of {len(table)} rows has a Kaggle keyword; expected column keyword of train.csv")
    unit_of = _units(with_keyword)
    part_of_unit = _divide(with_keyword["group"].map(unit_of).value_counts().to_dict(), settings)
    part_of_group = {
        group: part_of_unit[unit_of[group]] if group in unit_of else part_of(group, settings)
        for group in table["group"].unique()
    }
    parts = table["group"].map(part_of_group)
    return _checked({part: table[parts == part] for part in (TRAIN, CALIBRATION, DEV)})


def event_split(table: pd.DataFrame, event: str, settings: SplitSettings) -> dict[str, pd.DataFrame]:
    """Return the parts of `split` without an event, and the event's rows as HELD_OUT.

    CrisisLexT6 and T26 write a crisis that both have in different case ("2013_Alberta_Floods", "2013_Alberta_floods"):
    the rows of both are held out.

    Args:
        table: prepared rows, all collections.
        event: one of `event_names`.
        settings: of the division of the rest.

    Raises:
        DatasetError: the event is unknown, or a part is empty.
    """
    held_out = table["event"].str.lower() == event.lower()
    if not event or not held_out.any():
        raise DatasetError(f"no row is of event {event!r}; expected one of {event_names(table)}")
    return _held_out(table, held_out, pd.Series(True, table.index), settings)


def collection_split(
    table: pd.DataFrame, train_source: str, test_source: str, settings: SplitSettings
) -> dict[str, pd.DataFrame]:
    """Return the parts of `split` of one collection, and all rows of another as HELD_OUT.

    CrisisLexT6 and T26 have crises in common; column `event` tells which rows of HELD_OUT these are.

    Args:
        table: prepared rows.
        train_source: a collection, e.g. `training.data.labels.KAGGLE`.
        test_source: another one.
        settings: of the division of the first.

    Raises:
        DatasetError: a collection is missing or both are the same, or a part is empty.
    """
    sources = sorted(table["source"].unique())
    if train_source == test_source or not {train_source, test_source} <= set(sources):
        raise DatasetError(
            f"cannot train on {train_source!r} and test on {test_source!r}; expected two different ones of {sources}"
        )
    return _held_out(table, table["source"] == test_source, table["source"] == train_source, settings)


def event_names(table: pd.DataFrame) -> list[str]:
    """Return the events of all collections, each crisis once, in alphabetical order."""
    names: dict[str, str] = {}
    for event in sorted(table["event"].unique()):
        if event:
            names.setdefault(event.lower(), event)
    return list(names.values())


def _units(rows: pd.DataFrame) -> dict[str, str]:
    """Return group -> name of the unit that must stay together: the first of its keywords in alphabetical order."""
    parents: dict[str, str] = {}

    def root(word: str) -> str:
        while parents.setdefault(word, word) != word:
            word = parents[word]
        return word

    words_of_group = rows.groupby("group")["keyword"].unique()
    for words in words_of_group:
        first, *others = sorted({root(word) for word in words})
        for other in others:
            parents[other] = first
    return {str(group): f"keyword:{root(words[0])}" for group, words in words_of_group.items()}


def _divide(rows_of_unit: dict[str, int], settings: SplitSettings) -> dict[str, str]:
    """Return unit -> part, the units in the order of a hash, cut where the shares of the rows are reached.

    A hash alone, as in `part_of`, leaves sizes to chance: of 206 keywords, 14 % instead of 20 % were DEV.
    """
    order = sorted(rows_of_unit, key=lambda unit: hashlib.sha256(f"{settings.seed}:{unit}".encode()).digest())
    total, before, parts = sum(rows_of_unit.values()), 0, {}
    for unit in order:
        middle = (before + rows_of_unit[unit] / 2) / total
        calibration_end = settings.dev_share + settings.calibration_share
        parts[unit] = DEV if middle < settings.dev_share else CALIBRATION if middle < calibration_end else TRAIN
        before += rows_of_unit[unit]
    return parts


def _held_out(
    table: pd.DataFrame, held_out: pd.Series, rest: pd.Series, settings: SplitSettings
) -> dict[str, pd.DataFrame]:
    """Return the parts of `split` among the rows of `rest` that have no near-duplicate in `held_out`."""
    resembles = table["group"].isin(set(table.loc[held_out, "group"]))
    remaining = table[rest & ~resembles]
    if remaining.empty:
        raise DatasetError(f"nothing is left of {len(table)} rows to train on; expected rows of another kind")
    return _checked({**split(remaining, settings), HELD_OUT: table[held_out]})


def _checked(parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    for part, rows in parts.items():
        if rows.empty:
            raise DatasetError(f"no row falls into {part}; expected some; the table is too small")
    assert_no_leak(**parts)
    return {part: rows.reset_index(drop=True) for part, rows in parts.items()}
