"""Held-out trainings: nothing judged was read, finished ones are kept, and the report carries them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.datamodule import DataSettings, read_table
from training.data.labels import KAGGLE, T6, T26
from training.data.splits import DEV, TRAIN
from training.experiments import generalisation
from training.experiments.generalisation import HeldOutCase, cases
from training.learning.recipe_settings import compose
from training.learning.settings import Settings
from training.reports.report_tables import generalisation_table

MakeSettings = Callable[..., Settings]
RECIPE = DataSettings(
    t6_events=("2013_Test_Floods",), t6_per_event=4, dev_share=0.3, calibration_share=0.3, split_seed=1
)


def _case(name: str) -> HeldOutCase:
    return {case.name: case for case in cases(RECIPE)}[name]


def test_cases_of_a_recipe_are_of_every_kind() -> None:
    names = [case.name for case in cases(compose().data)]
    assert names[0] == "keyword"
    assert {"collection:crisislex_t6", "collection:crisislex_t26", "curve:0.1", "curve:1"} <= set(names)
    assert len([name for name in names if name.startswith("event:")]) == len(compose().data.t6_events)
    assert len(set(names)) == len(names)


def test_event_case_does_not_train_on_its_event() -> None:
    data = dataclasses.replace(RECIPE, t6_events=("2013_Alberta_Floods", "Other"), t26_events=("2013_Alberta_floods",))
    case = {case.name: case for case in cases(data)}["event:2013_Alberta_Floods"]
    assert case.data.t6_events == ("Other",)
    assert case.data.t26_events == ()


def test_collection_case_trains_on_kaggle_alone(data_dir: Path) -> None:
    case = _case(f"collection:{T6}")
    assert case.data.shares == ()
    table = read_table(data_dir)
    assert set(case.judged(table)["source"]) == {T6}
    assert set(case.divide(table)[TRAIN]["source"]) == {KAGGLE}


def test_judged_rows_share_no_group_with_training_rows(data_dir: Path) -> None:
    table = read_table(data_dir)
    for name in ("event:2013_Test_Floods", f"collection:{T26}", "curve:0.25"):
        case = _case(name)
        judged = case.judged(table)
        assert len(judged)
        assert not set(judged["group"]) & set(case.divide(table)[TRAIN]["group"])


def test_curve_cases_lie_within_each_other_and_leave_dev_alone(data_dir: Path) -> None:
    table = read_table(data_dir)
    parts = [_case(f"curve:{share:g}").divide(table) for share in generalisation.CURVE_SHARES]
    ids = [set(part[TRAIN]["id"]) for part in parts]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    assert len({tuple(part[DEV]["id"]) for part in parts}) == 1


def test_generalisation_of_a_tiny_recipe_is_resumed_and_goes_into_the_evaluation(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(tiny_settings("trainer.max_epochs=1"), model_dir="")
    settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, split_seed=1))
    chosen = [case for case in cases(settings.data) if case.name in (f"collection:{T6}", "curve:0.5")]
    output = tmp_path / "held_out"
    report = generalisation.generalisation(settings, chosen, output, tiny_base, resamples=20)
    assert list(report["cases"]) == [f"collection:{T6}", "curve:0.5"]
    entry = report["cases"][f"collection:{T6}"]
    assert entry["rows"] == 18
    assert set(entry["systems"]) == {"model", "TF-IDF + LR"}
    assert set(entry["trained_rows"]) == {KAGGLE}
    assert not (output / f"collection-{T6}" / "run").exists()
    assert json.loads((output / generalisation.FILE).read_text()) == report
    assert f"| collection:{T6} |" in generalisation_table(report)

    def no_training(*arguments: object, **more: object) -> None:
        raise AssertionError("a finished case was trained again")

    monkeypatch.setattr(generalisation, "train", no_training)
    assert generalisation.generalisation(settings, chosen, output, tiny_base, resamples=20) == report
    other = dataclasses.replace(settings, seed=settings.seed + 1)
    with pytest.raises(AssertionError, match="trained again"):
        generalisation.generalisation(other, chosen, output, tiny_base, resamples=20)


def test_main_lists_the_cases_without_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert generalisation.main(["--list", "--cases", "curve"]) == 0
    assert capsys.readouterr().out.split() == ["curve:0.1", "curve:0.25", "curve:0.5", "curve:1"]


def test_main_with_a_wrong_override_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert generalisation.main(["--list", "data.no_such=1"]) == 1
    assert "data.no_such=1 does not fit the configuration" in capsys.readouterr().err
