"""Score the training tweets by larger models that have not read them: the teachers of the served student.

The Kaggle rows of the training part are cut into folds of whole near-duplicate groups. Each teacher learns all folds
but one and scores that one, so no score is a memory of its own label.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from training.data.labels import KAGGLE
from training.data.splits import position_of
from training.errors import TrainingError
from training.model.model import TweetClassifier

_FOLD_SEED = 99  # of the folds alone, so that they are no part of any other division

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherSettings:
    """Who teaches.

    Args:
        num_hidden_layers: of a teacher, from the input of the base encoder on.
        folds: teachers a seed; each reads all but one.
        seeds: trainings of each fold; their scores are averaged.
        max_epochs: of a teacher.
    """

    num_hidden_layers: int = 6
    folds: int = 5
    seeds: int = 1
    max_epochs: int = 2

    def __post_init__(self) -> None:
        if self.folds < 2 or self.seeds < 1:
            raise TrainingError(
                f"teacher.folds={self.folds}, teacher.seeds={self.seeds}; expected at least 2 folds and 1 seed: a "
                "teacher must not have read what it scores"
            )


TrainTeacher = Callable[[pd.DataFrame, int, Path], TweetClassifier]


def teacher_scores(
    rows: pd.DataFrame,
    settings: TeacherSettings,
    recipe: Mapping[str, Any],
    folder: Path,
    train_teacher: TrainTeacher,
    score: Callable[[TweetClassifier, pd.DataFrame], np.ndarray],
) -> dict[str, float]:
    """Return id -> p(disaster) of each Kaggle row by teachers that have not read its near-duplicate group.

    A finished fold is kept in `folder` under a hash of rows and recipe: a killed run goes on with the next one, and a
    second student costs no second teacher.

    Args:
        rows: the training part, one row a text; other collections' rows are neither taught nor scored.
        settings: who teaches.
        recipe: everything else that a teacher's scores depend on, as plain values.
        folder: where finished folds are kept.
        train_teacher: (rows, seed, output folder) -> trained classifier.
        score: (classifier, rows) -> p(disaster), (rows,).

    Source: cross-fitting as in out-of-fold stacking (Wolpert 1992, Stacked generalization).
    """
    kaggle = rows[rows["source"] == KAGGLE].drop_duplicates("id").reset_index(drop=True)
    fold = (kaggle["group"].map(lambda group: position_of(group, _FOLD_SEED)) * settings.folds).astype(int)
    key = _key(kaggle, settings, recipe)
    found: dict[str, list[float]] = {}
    turns = [(number, seed) for seed in range(settings.seeds) for number in range(settings.folds)]
    for number, seed in tqdm(turns, desc="teachers", unit="teacher", disable=None):
        path = folder / key / f"fold-{number}-seed-{seed}.json"
        if not path.is_file():
            unread = kaggle[fold == number].reset_index(drop=True)
            if unread.empty:
                raise TrainingError(f"fold {number} of {settings.folds} has no row; expected fewer teacher.folds")
            log.info("teacher %d of %d, seed %d", number + 1, settings.folds, seed)
            teacher = train_teacher(kaggle[fold != number].reset_index(drop=True), seed, path.with_suffix(""))
            given = np.round(score(teacher, unread), 6).tolist()
            _write(path, dict(zip(unread["id"], given, strict=True)))
        for identity, value in json.loads(path.read_text(encoding="utf-8")).items():
            found.setdefault(identity, []).append(value)
    return {identity: float(np.mean(values)) for identity, values in found.items()}


def _key(rows: pd.DataFrame, settings: TeacherSettings, recipe: Mapping[str, Any]) -> str:
    content = [
        sorted(zip(rows["id"], rows["normalised"], rows["target"].tolist(), strict=True)),
        dataclasses.asdict(settings),
        dict(recipe),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, found: Mapping[str, float]) -> None:
    # A fold appears under its name only when it is whole.
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found), encoding="utf-8")
    partial.replace(path)
