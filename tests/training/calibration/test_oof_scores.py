"""Out-of-fold scores are read from files and folders of folds, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.calibration.oof_scores import origin_of, read_scores
from training.errors import DatasetError


def folds(folder: Path, **content: dict[str, float]) -> Path:
    """Write fold_0_seed_1={...} as fold-0-seed-1.json."""
    folder.mkdir()
    for name, scores in content.items():
        (folder / f"{name.replace('_', '-')}.json").write_text(json.dumps(scores), encoding="utf-8")
    return folder


def test_read_scores_takes_npz_and_refuses_what_is_no_probability(tmp_path: Path) -> None:
    np.savez(tmp_path / "oof.npz", ids=np.array(["a", "b"]), p=np.array([0.1, 0.9]))
    assert read_scores(tmp_path / "oof.npz") == {"a": 0.1, "b": 0.9}
    (tmp_path / "oof.json").write_text('{"a": 1.5}')
    with pytest.raises(DatasetError, match=r"the score of a is 1\.5; expected a probability"):
        read_scores(tmp_path / "oof.json")
    with pytest.raises(DatasetError, match=r"has no scores \(FileNotFoundError"):
        read_scores(tmp_path / "nothing.json")


def test_read_scores_of_a_folder_joins_folds_and_takes_the_mean_over_seeds(tmp_path: Path) -> None:
    folder = folds(
        tmp_path / "key",
        **{"fold_0_seed_0": {"a": 0.2}, "fold_1_seed_0": {"b": 0.5}},
        **{"fold_0_seed_1": {"a": 0.4}, "fold_1_seed_1": {"b": 0.7}},
    )
    (folder / "fold-0-seed-0").mkdir()  # a teacher's own run
    (folder / "fold-1-seed-1.partial").write_text("{")
    assert read_scores(folder) == {"a": pytest.approx(0.3), "b": pytest.approx(0.6)}
    assert origin_of(folder).startswith("key, 4 folds, sha256 of their hashes ")
    before = origin_of(folder)
    (folder / "fold-0-seed-0.json").write_text('{"a": 0.3}')
    assert origin_of(folder) != before


def test_read_scores_of_folds_that_do_not_belong_together_refuses(tmp_path: Path) -> None:
    twice = folds(tmp_path / "twice", fold_0_seed_0={"a": 0.2}, fold_1_seed_0={"a": 0.5})
    short = folds(tmp_path / "short", fold_0_seed_0={"a": 0.2}, fold_0_seed_1={"a": 0.5}, fold_1_seed_1={"b": 0.5})
    for folder, message in (
        (twice, r"fold-1-seed-0\.json scores 1 rows that another fold of its seed scores too, first a"),
        (short, "seed 0 scores 1 of 2 rows; expected every seed to score the same"),
        (tmp_path, r"holds no fold-\*-seed-\*\.json; .*: give one of its folders \['short', 'twice'\]"),
        (folds(tmp_path / "empty"), "give a folder below data_dir/teachers"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_scores(folder)
