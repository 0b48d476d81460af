"""Prepared tweets as batches for the trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.batches import BucketedBatches
from training.data.data_lock import LOCK_FILE, read_lock
from training.data.encoding import TweetEncoder
from training.data.exclusions import without_excluded
from training.data.labels import KAGGLE, T6, T26
from training.data.soft_targets import crowd_shares, soft_targets
from training.data.splits import (
    CALIBRATION,
    DEV,
    TRAIN,
    EventShare,
    SplitSettings,
    assert_no_leak,
    split,
    to_learn_from,
    training_mixture,
)
from training.errors import DatasetError
from training.make_dataset import COLUMNS, TABLE_FILE, check_prepared

EVALUATION_BATCH = 64
DEV_DISTINCT = "dev_distinct"
DEV_T6 = "dev_crisislex_t6"
DEV_T6_PER_EVENT = 500
Parts = Mapping[str, pd.DataFrame]
_checked: set[tuple[str, int, int]] = set()  # path, mtime in ns and bytes of the tables whose values were found right

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSettings:
    """What is trained on.

    Args:
        batch_size: tweets an optimiser step.
        max_tokens: longest input, special tokens included.
        t6_events: CrisisLexT6 events that join Kaggle's rows.
        t6_per_event: tweets drawn from each; 0 takes none.
        t26_events: CrisisLexT26 events that join, English tweets only.
        t26_per_event: tweets drawn from each, fewer where an event has fewer; 0 takes none.
        kaggle_repeats: how often an epoch reads Kaggle's rows, against other collections' once.
        agreement_weight: of the crowd's agreement against the bare label, in [0, 1].
        teacher_weight: of a teacher's score against the rest (training/learning/teachers.py), in [0, 1].
        dev_share: of the groups, for figures.
        calibration_share: of the groups, for temperature and thresholds.
        split_seed: of the division.
        limit_rows: train on the first n shuffled rows only; 0 takes all. For debugging.
        exclusions: file of rows to leave out of the training (training/experiments/label_noise.py); "" leaves out none.
    """

    batch_size: int = 32
    max_tokens: int = 128
    t6_events: tuple[str, ...] = ()
    t6_per_event: int = 0
    t26_events: tuple[str, ...] = ()
    t26_per_event: int = 0
    kaggle_repeats: int = 1
    agreement_weight: float = 0.0
    teacher_weight: float = 0.0
    dev_share: float = 0.2
    calibration_share: float = 0.08
    split_seed: int = 0
    limit_rows: int = 0
    exclusions: str = ""

    @property
    def split(self) -> SplitSettings:
        """Return the settings of the division."""
        return SplitSettings(self.split_seed, self.dev_share, self.calibration_share)

    @property
    def shares(self) -> tuple[EventShare, ...]:
        """Return what joins Kaggle's rows."""
        t6 = [EventShare(T6, event, self.t6_per_event) for event in self.t6_events if self.t6_per_event]
        t26 = [EventShare(T26, event, self.t26_per_event, True) for event in self.t26_events if self.t26_per_event]
        return (*t6, *t26)

    @property
    def trained_events(self) -> frozenset[str]:
        """Return the events that are trained on, in lower case: T6 and T26 differ in the case of a crisis' name."""
        return frozenset(share.event.lower() for share in self.shares)


class TweetDataModule(pl.LightningDataModule):
    """Read the prepared table, divide it, encode it.

    `parts` holds the rows after `setup`: train (the mixture); calibration and dev (Kaggle's rows with their own
    labels, as its test file is made: copies and contradictions included); dev_distinct (one row a text of dev);
    dev_crisislex_t6 (unseen texts of the CrisisLexT6 events that are trained on).

    Args:
        data_dir: holds tweets.parquet and data.lock.json.
        tokenizer_path: of the base encoder.
        settings: what is trained on.
        seed: of the draw from CrisisLexT6 and of the order of batches.
        divide: makes the parts of the prepared table; None divides at random by `settings.split`.
    """

    def __init__(
        self,
        data_dir: Path,
        tokenizer_path: Path,
        settings: DataSettings,
        seed: int = 0,
        divide: Callable[[pd.DataFrame], Parts] | None = None,
    ) -> None:
        super().__init__()
        self._data_dir = data_dir
        self._encoder = TweetEncoder(tokenizer_path, settings.max_tokens)
        self._settings = settings
        self._seed = seed
        self._divide = divide or (lambda table: split(table, settings.split))
        self._crowd: dict[str, float] = {}
        self._soft_targets: npt.NDArray[np.float32] | None = None
        self.parts: dict[str, pd.DataFrame] = {}
        self._encoded: dict[str, list[list[int]]] = {}

    def setup(self, stage: str = "fit") -> None:
        """Read and encode once; later calls do nothing."""
        if self.parts:
            return
        parts = self._divide(read_table(self._data_dir))
        train = training_mixture(parts[TRAIN], self._settings.shares, self._settings.split_seed)
        train = without_excluded(train, self._settings.exclusions)
        kaggle = [train[train["source"] == KAGGLE]] * (self._settings.kaggle_repeats - 1)
        train = pd.concat([train, *kaggle], ignore_index=True)
        if self._settings.limit_rows:
            train = train.sample(min(self._settings.limit_rows, len(train)), random_state=self._seed)
        self.parts = {TRAIN: train.reset_index(drop=True)}
        for part in (CALIBRATION, DEV):
            rows = parts[part]
            self.parts[part] = rows[rows["source"] == KAGGLE].reset_index(drop=True)
        self.parts[DEV_DISTINCT] = to_learn_from(self.parts[DEV]).reset_index(drop=True)
        self.parts[DEV_T6] = self._dev_t6(parts[DEV])
        assert_no_leak(train=self.parts[TRAIN], calibration=self.parts[CALIBRATION], dev=parts[DEV])
        self._encoded = {part: self._encoder.encode(rows["normalised"].tolist()) for part, rows in self.parts.items()}
        self._crowd = crowd_shares(parts[TRAIN])
        if self._settings.agreement_weight and not self._crowd:
            log.warning("no row tells the crowd's agreement (train_agreement.csv): bare labels are learnt instead")
        self.learn_from(None)

    def learn_from(self, teacher: Mapping[str, float] | None) -> None:
        """Set what the training rows are to be scored; call it after `setup`.

        Args:
            teacher: id -> p(disaster) by a model that has not read the row; None learns from people alone.
        """
        weight = self._settings.teacher_weight if teacher is not None else 0.0
        rows = self.parts[TRAIN]
        self._soft_targets = soft_targets(rows, self._crowd, self._settings.agreement_weight, teacher, weight)

    @property
    def softened_share(self) -> float:
        """Return the share of the training rows that have more than a label to learn from."""
        return 0.0 if self._soft_targets is None else float(np.isfinite(self._soft_targets).mean())

    def data_facts(self) -> dict[str, dict[str, str | int]]:
        """Return the raw files behind the table, with hashes and rows, for `training.json`."""
        return read_lock(self._data_dir / LOCK_FILE)

    def train_dataloader(self) -> BucketedBatches:
        """Return the batches of training, in the order of the trainer's step."""
        return self._batches(TRAIN, self._settings.batch_size, shuffle=True, shared=True)

    def val_dataloader(self) -> BucketedBatches:
        """Return the batches of the dev part."""
        return self._batches(DEV, EVALUATION_BATCH, shuffle=False, shared=True)

    def part_batches(self, part: str) -> BucketedBatches:
        """Return the batches of any part, ascending in length; `BucketedBatches.order(0)` tells the rows."""
        return self._batches(part, EVALUATION_BATCH, shuffle=False)

    def batches_of(self, rows: pd.DataFrame, batch_size: int, seed: int = 0, shuffle: bool = True) -> BucketedBatches:
        """Return batches of some rows of the training part, to be scored as people scored them."""
        encoded = self._encoder.encode(rows["normalised"].tolist())
        soft = soft_targets(rows, self._crowd, self._settings.agreement_weight)
        targets = rows["target"].tolist()
        return BucketedBatches(encoded, targets, batch_size, seed, shuffle=shuffle, soft_targets=soft)

    def _dev_t6(self, dev: pd.DataFrame) -> pd.DataFrame:
        """Return up to DEV_T6_PER_EVENT unseen texts of each event that is trained on."""
        dev = to_learn_from(dev)
        rows = dev[(dev["source"] == T6) & dev["event"].isin(self._settings.t6_events)]
        shuffled = rows.sample(frac=1.0, random_state=self._settings.split_seed)
        return shuffled.groupby("event").head(DEV_T6_PER_EVENT).reset_index(drop=True)

    def _batches(self, part: str, batch_size: int, shuffle: bool, shared: bool = False) -> BucketedBatches:
        trainer = self.trainer
        step = (lambda: trainer.global_step) if shuffle and trainer is not None else None
        targets = self.parts[part]["target"].tolist()
        rank, world_size = (trainer.global_rank, trainer.world_size) if shared and trainer is not None else (0, 1)
        soft = self._soft_targets if part == TRAIN else None
        return BucketedBatches(
            self._encoded[part], targets, batch_size, self._seed, step, shuffle, soft, rank, world_size
        )


def read_table(data_dir: Path) -> pd.DataFrame:
    """Return the prepared table.

    Raises:
        DatasetError: it is missing, damaged, has other columns, or a value that the schema refuses; names column and
            rows.
    """
    path = data_dir / TABLE_FILE
    if not path.is_file():
        raise DatasetError(
            f"{path} is missing; expected a prepared table; run `python -m training.make_dataset --from FOLDER`"
        )
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DatasetError(f"{path} is no Parquet file ({error}); prepare the data again") from error
    if list(table.columns) != list(COLUMNS):
        raise DatasetError(
            f"{path} has columns {list(table.columns)}; expected {list(COLUMNS)}; prepare the data again"
        )
    status = path.stat()
    version = (str(path.resolve()), status.st_mtime_ns, status.st_size)
    if version not in _checked:  # seconds on the whole table, and a search reads it once a trial
        check_prepared(table, str(path))
        _checked.add(version)
    return table
