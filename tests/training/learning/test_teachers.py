"""Teachers never score what they have read, and finished ones are not trained again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.errors import TrainingError
from training.learning.teachers import TeacherSettings, teacher_scores
from training.model.model import TweetClassifier

SETTINGS = TeacherSettings(num_hidden_layers=2, folds=3, seeds=2, max_epochs=1)


def _rows() -> pd.DataFrame:
    number = range(60)
    return pd.DataFrame(
        {
            "id": [f"kaggle:{row}" for row in number],
            "source": "kaggle",
            "group": [f"group-{row // 2}" for row in number],
            "normalised": [f"text {row}" for row in number],
            "target": [row % 2 for row in number],
        }
    )


class _Teachers:
    """Remembers what each teacher has read; one that breaks stops the run."""

    def __init__(self, break_at: int = -1) -> None:
        self.read: list[set[str]] = []
        self._break_at = break_at

    def train(self, rows: pd.DataFrame, seed: int, folder: Path) -> TweetClassifier:
        if len(self.read) == self._break_at:
            raise KeyboardInterrupt
        self.read.append(set(rows["group"]))
        return TweetClassifier.__new__(TweetClassifier)

    def score(self, _: TweetClassifier, rows: pd.DataFrame) -> np.ndarray:
        assert not self.read[-1] & set(rows["group"])
        return np.full(len(rows), 0.1 * len(self.read))


def test_teacher_scores_come_from_teachers_that_have_not_read_the_group(tmp_path: Path) -> None:
    other = _rows().head(4).assign(source="crisislex_t6", id=["t0", "t1", "t2", "t3"])
    teachers = _Teachers()
    found = teacher_scores(pd.concat([_rows(), other]), SETTINGS, {}, tmp_path, teachers.train, teachers.score)
    assert len(teachers.read) == 6
    assert found.keys() == set(_rows()["id"])
    # Teachers 1 to 3 are of the first seed, 4 to 6 of the second: a row's mean is of two with the same fold.
    assert {round(value, 6) for value in found.values()} == {0.25, 0.35, 0.45}


def test_teacher_scores_of_a_killed_run_go_on_with_the_next_fold(tmp_path: Path) -> None:
    broken = _Teachers(break_at=4)
    with pytest.raises(KeyboardInterrupt):
        teacher_scores(_rows(), SETTINGS, {}, tmp_path, broken.train, broken.score)
    resumed = _Teachers()
    found = teacher_scores(_rows(), SETTINGS, {}, tmp_path, resumed.train, resumed.score)
    assert len(resumed.read) == 2
    assert len(found) == 60
    again = _Teachers()
    assert teacher_scores(_rows(), SETTINGS, {}, tmp_path, again.train, again.score) == found
    assert not again.read


@pytest.mark.parametrize("change", ["rows", "recipe", "settings"])
def test_teacher_scores_of_another_recipe_or_of_other_rows_are_made_anew(tmp_path: Path, change: str) -> None:
    first = _Teachers()
    teacher_scores(_rows(), SETTINGS, {"rate": 1}, tmp_path, first.train, first.score)
    second = _Teachers()
    rows = _rows().assign(target=0) if change == "rows" else _rows()
    settings = TeacherSettings(2, 3, 2, 2) if change == "settings" else SETTINGS
    recipe = {"rate": 2 if change == "recipe" else 1}
    teacher_scores(rows, settings, recipe, tmp_path, second.train, second.score)
    assert len(second.read) == 6


@pytest.mark.parametrize(("folds", "seeds"), [(1, 1), (5, 0)])
def test_teacher_settings_that_would_let_a_teacher_read_its_own_rows_are_refused(folds: int, seeds: int) -> None:
    with pytest.raises(TrainingError, match="at least 2 folds and 1 seed"):
        TeacherSettings(folds=folds, seeds=seeds)
