from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.evaluation.metrics import METRICS
from training.experiments.seed_spread import seed_spread, spread_table


def report(path: Path, version: str, f1: float | None, rows: int = 9) -> Path:
    figures: dict[str, Any] = {name: {"value": 0.5} for name in METRICS} | {"f1": {"value": f1}}
    content = {
        "source": {"model_version": version},
        "limit": 0,
        "data": {"train.csv": {"sha256": "ab" * 32}},
        "splits": {"kaggle_random": {"rows": rows, "systems": {"model": figures}}},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_seed_spread_when_three_trainings_are_given_has_mean_and_sample_deviation(tmp_path: Path) -> None:
    paths = [report(tmp_path / f"{f1}.json", f"v{f1}", f1) for f1 in (0.8, 0.81, 0.82)]
    found = seed_spread(paths)
    assert found["splits"]["kaggle_random"]["f1"] == {"mean": 0.81, "sd": 0.01, "lowest": 0.8, "highest": 0.82}
    assert "| kaggle_random | 3 | 0.8100 +- 0.0100 | 0.5000 +- 0.0000 |" in spread_table(found)


def test_seed_spread_when_a_figure_is_undefined_somewhere_has_none(tmp_path: Path) -> None:
    found = seed_spread([report(tmp_path / "a", "v1", 0.8), report(tmp_path / "b", "v2", None)])
    assert found["splits"]["kaggle_random"]["f1"] is None
    assert "| 2 | - |" in spread_table(found)


def test_seed_spread_when_reports_cannot_be_compared_refuses(tmp_path: Path) -> None:
    first = report(tmp_path / "a", "v1", 0.8)
    (tmp_path / "no").write_text("[]", encoding="utf-8")
    for others, message in (
        ([], "1 report has no spread"),
        ([report(tmp_path / "b", "v1", 0.9)], "expected each once"),
        ([report(tmp_path / "c", "v2", 0.9, rows=8)], "expected the same rows"),
        ([tmp_path / "no"], "is no report"),
        ([tmp_path / "nowhere"], "is no report"),
    ):
        with pytest.raises(TrainingError, match=message):
            seed_spread([first, *others])
