"""Reports of other commands are taken only when they are of this model, recipe and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.evaluation.attached_reports import read_attached

DATA = {"train.csv": {"sha256": "aa", "rows": 9}}
RECIPE = {"seed": 0, "version_suffix": "", "data": {"teacher_weight": 0.5}}
FACTS = {"recipe": RECIPE}
SEEDS = {"parts": {}, "recipe": {**RECIPE, "seed": 3}, "data": DATA, "model_versions": ["mine", "other"]}
HELD_OUT = {"cases": {}, "recipe": {**RECIPE, "version_suffix": "held-out"}, "data": DATA}


def attached(tmp_path: Path, name: str, content: str | None, facts: dict[str, Any] | None = FACTS) -> dict[str, Any]:
    path = tmp_path / f"{name}.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    return read_attached({name: path}, "mine", facts, DATA)


def changed(report: dict[str, Any], **values: Any) -> str:
    return json.dumps({**report, **values})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("behaviour", None, r"is no report of behaviour \(FileNotFoundError\)"),
        ("behaviour", "{}", r"is no report of behaviour \(KeyError\)"),
        ("behaviour", '{"kinds": {}, "source": {}}', r"is no report of behaviour \(KeyError\)"),
        ("behaviour", '{"kinds": {}, "source": {"model_version": "other"}}', "is of model other, asked is mine"),
        ("generalisation", "[]", r"is no report of generalisation \(TypeError\)"),
        ("generalisation", changed(HELD_OUT, data={"train.csv": {"sha256": "bb", "rows": 9}}), "is of another train"),
        ("seeds", changed(HELD_OUT), r"is no report of seeds \(KeyError\)"),
        ("seeds", changed(SEEDS, data={"train.csv": {"sha256": "bb", "rows": 9}}), r"sha256 bb, here aa"),
        ("seeds", changed(SEEDS, recipe={"data": {"teacher_weight": 0.0}}), r"data\.teacher_weight: 0\.5, 0\.0"),
    ],
)
def test_read_attached_of_a_wrong_report_refuses(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        attached(tmp_path, name, content)


def test_read_attached_of_right_reports_returns_them_and_nothing_for_what_was_not_given(tmp_path: Path) -> None:
    assert attached(tmp_path, "seeds", json.dumps(SEEDS)) == {"seeds": SEEDS}
    assert read_attached({"seeds": None, "behaviour": None}, "mine", FACTS, DATA) == {}


def test_read_attached_of_seeds_without_the_training_goes_by_the_version(tmp_path: Path) -> None:
    assert "seeds" in attached(tmp_path, "seeds", json.dumps(SEEDS), None)
    with pytest.raises(TrainingError, match="give its model folder with --facts"):
        attached(tmp_path, "seeds", changed(SEEDS, model_versions=["other"]), None)


def test_read_attached_of_held_out_trainings_of_another_recipe_says_in_what_it_differs(tmp_path: Path) -> None:
    other = {"version_suffix": "held-out", "data": {"teacher_weight": 0.0}, "trainer": {"threads": 1}}
    found = attached(tmp_path, "generalisation", changed(HELD_OUT, recipe=other))
    assert found["generalisation"]["recipe_differs"] == [
        "data.teacher_weight: 0.5, 0.0",
        "trainer.threads: not set, 1",
    ]
    assert attached(tmp_path, "generalisation", json.dumps(HELD_OUT))["generalisation"]["recipe_differs"] == []
