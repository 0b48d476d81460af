"""The tweets that a model is judged on: none that it was trained or calibrated on, nor a near-duplicate of one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from training.data.data_lock import LOCK_FILE, has_same_rows, read_lock
from training.data.datamodule import DEV_DISTINCT, DEV_T6, DataSettings, TweetDataModule, read_table
from training.data.labels import T26
from training.data.language_guess import looks_english
from training.data.splits import CALIBRATION, DEV, TRAIN, assert_no_leak, to_learn_from
from training.errors import DatasetError
from training.learning.recipe_settings import compose
from training.make_dataset import REPORT_FILE, TABLE_FILE, make_dataset
from tweetclf.bundle import sha256_of
from tweetclf.text import NORMALISER_VERSION

KAGGLE_RANDOM = "kaggle_random"
KAGGLE_DISTINCT = "kaggle_distinct"
T6_DEV = "crisislex_t6"
T26_UNSEEN = "crisislex_t26"
T26_ENGLISH = "crisislex_t26_english"
SPLITS: Mapping[str, str] = {
    KAGGLE_RANDOM: "Kaggle, random dev part of the near-duplicate groups, every row with its own label, copies and "
    "contradictions included, as its test file is made",
    KAGGLE_DISTINCT: "the distinct texts of kaggle_random, with the label that equal texts agree on",
    T6_DEV: "CrisisLexT6, distinct texts of the dev part of the recipe's events",
    T26_UNSEEN: "CrisisLexT26, distinct texts of the events that were not trained on; few are negative: read ROC-AUC",
    T26_ENGLISH: "the tweets of crisislex_t26 that are guessed to be English",
}


@dataclass(frozen=True)
class EvaluationRows:
    """What is evaluated and what was trained on.

    Args:
        train: rows of the training, for baselines.
        splits: name -> rows, in the order of SPLITS.
        t26_events: event -> rows, those of trained events too.
        trained_events: events of T26 that the training also met, in T6.
        left_out: T26 rows that are near-duplicates of trained or calibration rows.
    """

    train: pd.DataFrame
    splits: Mapping[str, pd.DataFrame]
    t26_events: Mapping[str, pd.DataFrame]
    trained_events: frozenset[str]
    left_out: int

    def all_rows(self) -> pd.DataFrame:
        """Return every evaluated row once; its label is its split's affair."""
        parts = [*self.splits.values(), *self.t26_events.values()]
        return pd.concat(parts).drop_duplicates("id").reset_index(drop=True)


def data_settings(facts: Mapping[str, Any] | None) -> tuple[DataSettings, int]:
    """Return the data settings and the seed of a training.

    Args:
        facts: content of training.json; None takes the division of the default recipe.

    Raises:
        DatasetError: the facts lack the recipe.
    """
    if facts is None:
        default = compose().data
        shares = {name: getattr(default, name) for name in ("dev_share", "calibration_share", "split_seed")}
        return DataSettings(**shares), 0
    try:
        data = {**facts["recipe"]["data"]}
        for events in ("t6_events", "t26_events"):
            data[events] = tuple(data[events])
        return DataSettings(**data), int(facts["seeds"]["training"])
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"training.json does not tell what was trained on ({type(error).__name__}: {error}); expected recipe.data "
            "and seeds as `python -m training.train` writes them; train again"
        ) from error


def prepared_folder(raw: Path, prepared: Sequence[Path], work: Path) -> Path:
    """Return a folder with the prepared table of the raw files: one that is there, or a new one.

    Args:
        raw: folder with train.csv and crisislex/.
        prepared: folders that may hold the table of these very files.
        work: where a new one is written.

    Raises:
        DatasetError: the raw folder cannot be used.
    """
    if not (raw / "train.csv").is_file():
        raise DatasetError(
            f"{raw} has no train.csv; expected the folder of raw tweets; give it with --data, or set "
            "DISASTER_TWEETS_DATA"
        )
    for folder in (*prepared, work):
        if _is_table_of(folder, raw):
            return folder
    make_dataset(raw, work, accept_changed=True)
    return work


def evaluation_rows(
    table_dir: Path, tokenizer: Path, settings: DataSettings, seed: int, names: Sequence[str], limit: int = 0
) -> EvaluationRows:
    """Return the rows of the named splits.

    Args:
        table_dir: holds the prepared table.
        tokenizer: of the base encoder.
        settings: what the model was trained on.
        seed: of that training.
        names: some of SPLITS.
        limit: at most so many rows a split and a T26 event, drawn by seed; 0 takes all.

    Raises:
        DatasetError: a split has no row, or a row is or resembles a trained one.
    """
    module = TweetDataModule(table_dir, tokenizer, settings, seed)
    module.setup()
    used = pd.concat([module.parts[TRAIN], module.parts[CALIBRATION]])
    table = read_table(table_dir)
    t26 = to_learn_from(table[table["source"] == T26])
    fresh = t26[~t26["group"].isin(set(used["group"]))]
    seen = frozenset(event for event in fresh["event"].unique() if event.lower() in settings.trained_events)
    unseen = fresh[~fresh["event"].isin(seen)]
    found = {KAGGLE_RANDOM: module.parts[DEV], KAGGLE_DISTINCT: module.parts[DEV_DISTINCT]}
    found |= {T6_DEV: module.parts[DEV_T6], T26_UNSEEN: unseen}
    found[T26_ENGLISH] = unseen[[looks_english(text) for text in unseen["normalised"]]]
    splits = {name: _limited(found[name], limit) for name in SPLITS if name in names}
    for name, rows in splits.items():
        if rows.empty:
            raise DatasetError(f"split {name} has no row; expected some; is its collection in the folder of --data?")
    wanted = fresh if T26_UNSEEN in names else fresh.iloc[:0]
    events = {str(event): _limited(rows, limit) for event, rows in wanted.groupby("event")}
    result = EvaluationRows(module.parts[TRAIN], splits, events, seen, len(t26) - len(fresh))
    assert_no_leak(used=used, evaluated=result.all_rows())
    return result


def check_same_data(facts: Mapping[str, Any], table_dir: Path) -> None:
    """Raise DatasetError when a file that the model was trained on is another here: its split would protect nothing."""
    here = read_lock(table_dir / LOCK_FILE)
    for name, entry in facts.get("data", {}).items():
        if name in here and not has_same_rows(here[name], entry):
            raise DatasetError(
                f"{name} has sha256 {here[name]['sha256']}; the model was trained on {entry['sha256']}: rows that are "
                "dev here may have been trained on; give the same files with --data, or train again"
            )


def _limited(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    chosen = rows.sample(limit, random_state=0) if limit and len(rows) > limit else rows
    return chosen.reset_index(drop=True)


def _is_table_of(folder: Path, raw: Path) -> bool:
    if not all((folder / name).is_file() for name in (TABLE_FILE, LOCK_FILE, REPORT_FILE)):
        return False
    if json.loads((folder / REPORT_FILE).read_text(encoding="utf-8")).get("normaliser_version") != NORMALISER_VERSION:
        return False
    files = [raw / "train.csv", *(path for path in [raw / "train_agreement.csv"] if path.is_file())]
    files += [path for name in ("t6", "t26") for path in (raw / "crisislex" / name).glob("*.csv")]
    names = {path.relative_to(raw).as_posix(): path for path in files}
    lock = read_lock(folder / LOCK_FILE)
    return lock.keys() == names.keys() and all(sha256_of(names[name]) == lock[name]["sha256"] for name in names)
