"""What int8 costs, from end to end on the tiny bundle and own-written rows, and the arithmetic of a difference."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.evaluation import served
from training.evaluation.answer_sources import Answers
from training.learning.settings import Settings
from tweetclf.bundle import Bundle


@pytest.fixture(autouse=True)
def _tiny_base(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "resolve_base_encoder", lambda: tiny_base)


@pytest.fixture
def facts_dir(tiny_settings: Callable[..., Settings], tmp_path: Path) -> Path:
    """The training of the tiny bundle, as far as it decides which rows are unseen."""
    data = asdict(tiny_settings("data.dev_share=0.3", "data.calibration_share=0.2").data)
    facts = {"model_version": "2026.01.01-tiny", "recipe": {"data": data}, "seeds": {"training": 0}}
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "training.json").write_text(json.dumps(facts), encoding="utf-8")
    return tmp_path / "facts"


def arguments(raw_dir: Path, facts_dir: Path, tmp_path: Path, bundle: Path, *more: str) -> list[str]:
    places = ["--bundle", str(bundle), "--facts", str(facts_dir), "--data", str(raw_dir)]
    places += ["--prepared", str(tmp_path / "processed"), "--work", str(tmp_path / "work")]
    return [*places, "--output", str(tmp_path / "out" / "served.json"), "--resamples", "40", *more]


def test_both_networks_are_asked_and_their_difference_is_written(
    raw_dir: Path, facts_dir: Path, tiny_int8_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--splits", "kaggle_random"]
    assert served.main(arguments(raw_dir, facts_dir, tmp_path, tiny_int8_bundle.path, *more)) == 0
    text = (tmp_path / "out" / "served.json").read_text(encoding="utf-8")
    report = json.loads(text)
    assert report["model_version"] == "2026.01.01-tiny"
    assert report["networks"] == {"float32": "torchscript", "int8": "openvino", "int8_weight_bits": 7}
    (split,) = report["splits"].values()
    assert split["rows"] == report["asked_tweets"] > 20
    assert split["score_difference"]["largest"] > 0  # two networks, not one asked twice
    for metric in ("f1", "accuracy", "roc_auc"):
        gain = split["int8_minus_float32"][metric]
        assert gain["value"] == pytest.approx(
            split["int8"][metric]["value"] - split["float32"][metric]["value"], abs=2e-4
        )
        assert gain["low"] <= gain["value"] <= gain["high"]
    assert "Marlow" not in text
    assert "kaggle_random:" in capsys.readouterr().out


@pytest.mark.parametrize("lacking", ["int8", "training"])
def test_a_bundle_without_int8_or_of_another_training_is_refused(
    lacking: str,
    raw_dir: Path,
    facts_dir: Path,
    tiny_bundle_dir: Path,
    tiny_int8_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if lacking == "training":
        (facts_dir / "training.json").write_text(json.dumps({"model_version": "another"}), encoding="utf-8")
    bundle = tiny_bundle_dir if lacking == "int8" else tiny_int8_bundle.path
    assert served.main(arguments(raw_dir, facts_dir, tmp_path, bundle)) == 1
    expected = "has no int8 network" if lacking == "int8" else "is of model another, the bundle of 2026.01.01-tiny"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_split_report_counts_what_int8_changed() -> None:
    part = pd.DataFrame({"target": [1, 0, 1, 0], "group": list("abcd")})
    exact = Answers(np.array([0.9, 0.1, 0.8, 0.6]), ("disaster", "not_disaster", "review", "review"), ("",) * 4)
    rounded = Answers(np.array([0.9, 0.1, 0.4, 0.4]), ("disaster", "not_disaster", "review", "disaster"), ("",) * 4)
    options = argparse.Namespace(resamples=200, seed=0)
    found = served.split_report(part, {"torchscript": exact, "openvino": rounded}, np.arange(4), options)
    # Of two disasters float32 finds both with one false alarm, int8 finds one without any.
    assert (found["float32"]["f1"]["value"], found["int8"]["f1"]["value"]) == (0.8, 0.6667)
    assert found["int8_minus_float32"]["f1"]["value"] == pytest.approx(-0.1333, abs=1e-4)
    accuracy = found["int8_minus_float32"]["accuracy"]
    assert accuracy["value"] == 0.0  # one label lost, one won
    assert -1 <= accuracy["low"] < 0 < accuracy["high"] <= 1
    assert (found["other_label"], found["other_decision"]) == (2, 1)
    assert found["score_difference"] == {"mean": 0.15, "largest": 0.4}


def test_equal_answers_differ_by_exactly_nothing() -> None:
    part = pd.DataFrame({"target": [1, 0, 1, 0] * 5, "group": range(20)})
    answers = Answers(np.linspace(0.1, 0.9, 20), ("review",) * 20, ("",) * 20)
    options = argparse.Namespace(resamples=50, seed=3)
    found = served.split_report(part, {"torchscript": answers, "openvino": answers}, np.arange(20), options)
    assert {tuple(entry.values()) for entry in found["int8_minus_float32"].values()} == {(0.0, 0.0, 0.0)}


@pytest.mark.parametrize(("option", "value"), [("--resamples", "0"), ("--limit", "-1"), ("--splits", "hidden")])
def test_arguments_when_wrong_are_refused_before_any_work(option: str, value: str) -> None:
    with pytest.raises(SystemExit) as caught:
        served.main([option, value])
    assert caught.value.code == 2
