"""The command from end to end, on a tiny model trained on own-written rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training import evaluate
from training.evaluation import answer_sources
from training.evaluation.answer_sources import Answers
from training.evaluation.evaluation_report import Scored, decision_report
from training.learning.settings import Settings
from training.train import train

PNG = b"\x89PNG\r\n"


@pytest.fixture(autouse=True)
def _tiny_base(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (evaluate, answer_sources):
        monkeypatch.setattr(module, "resolve_base_encoder", lambda: tiny_base)


@pytest.fixture
def model_dir(tiny_settings: Callable[..., Settings], tiny_base: Path, tmp_path: Path) -> Path:
    """Trained on `raw_dir`, long enough to tell its rows apart: scores are rounded, and ties would count as halves."""
    train(tiny_settings("trainer.max_epochs=8", "data.dev_share=0.3", "data.calibration_share=0.2"), tiny_base)
    return tmp_path / "model"


def options(raw_dir: Path, tmp_path: Path, *more: str) -> list[str]:
    places = ["--data", str(raw_dir), "--output", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    prepared = ["--prepared", str(tmp_path / "processed")]
    return [*places, *prepared, "--resamples", "40", "--splits", "kaggle_random,crisislex_t26", *more]


def test_evaluate_when_a_model_folder_is_given_writes_report_plots_and_card(
    model_dir: Path, raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "docs" / "card.md"
    assert evaluate.main(options(raw_dir, tmp_path, "--model", str(model_dir), "--card", str(card))) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    facts = json.loads((model_dir / "training.json").read_text(encoding="utf-8"))

    # The same rows and figures as the training's own evaluation, by other code.
    split = report["splits"]["kaggle_random"]
    assert split["rows"] == facts["dev"]["n"]
    found = {name: estimate["value"] for name, estimate in split["systems"]["model"].items()}
    for name in ("f1", "accuracy", "roc_auc"):
        assert found[name] == pytest.approx(facts["dev"][name], abs=2e-3), name
    assert found["ece"] == pytest.approx(facts["dev"]["ece_15_bins"], abs=2e-3)
    assert set(split["systems"]) == {"model", "majority", "keyword rule", "TF-IDF + LR", "frozen MiniLM + LR"}
    assert split["systems"]["majority"]["roc_auc"]["value"] == 0.5
    assert split["decision"]["share"] == pytest.approx(facts["dev"]["decided_share"], abs=0.05)
    assert report["t26_events"]["2013_Test_quake"]["rows"] == report["splits"]["crisislex_t26"]["rows"]

    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    plots = re.findall(r"\((\S+\.png)\)", markdown)
    assert len(plots) == 11
    assert all((tmp_path / "out" / name).read_bytes().startswith(PNG) for name in plots)
    written = card.read_text(encoding="utf-8")
    assert "{{" not in written
    assert f"{found['f1']:.3f}" in written
    assert report["source"]["model_version"] in written
    # No row's text is anywhere in what is written.
    assert "Marlow" not in markdown + written + json.dumps(report)
    assert "kaggle_random" in capsys.readouterr().out


def test_evaluate_when_the_training_of_a_bundle_is_not_at_hand_says_so(
    raw_dir: Path, tiny_bundle_dir: Path, tmp_path: Path
) -> None:
    more = [
        "--bundle",
        str(tiny_bundle_dir),
        "--facts",
        str(tmp_path / "model"),
        "--baselines",
        "none",
        "--limit",
        "10",
    ]
    assert evaluate.main(options(raw_dir, tmp_path, *more)) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    expected = {"kind": "bundle", "name": str(tiny_bundle_dir), "model_version": "2026.01.01-tiny"}
    assert report["source"] == {**expected, "engine": "torchscript"}
    assert "is not at hand" in report["training_note"]
    assert list(report["splits"]["kaggle_random"]["systems"]) == ["model"]
    assert report["splits"]["kaggle_random"]["rows"] == 10


def test_evaluate_when_the_raw_file_is_not_the_trained_one_refuses(
    model_dir: Path, raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = raw_dir / "train.csv"
    path.write_text(path.read_text(encoding="utf-8") + "999999,,,one more tweet about rivers,1\n", encoding="utf-8")
    assert evaluate.main(options(raw_dir, tmp_path, "--model", str(model_dir))) == 1
    assert "evaluation refused: train.csv has sha256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluate_when_a_card_or_report_could_not_be_written_refuses_before_asking(
    model_dir: Path, raw_dir: Path, tiny_bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(model_dir)]
    (tmp_path / "file").write_text("", encoding="utf-8")
    for arguments, message in (
        (["--bundle", str(tiny_bundle_dir), "--facts", str(model_dir), "--card", "card.md"], "needs the training.json"),
        ([*model, "--splits", "crisislex_t26", "--card", "card.md"], "--card needs the split kaggle_random"),
        ([*model, "--output", str(tmp_path / "file" / "out")], "cannot be made"),
    ):
        assert evaluate.main(options(raw_dir, tmp_path, *arguments)) == 1
        out, refused = capsys.readouterr()
        assert message in refused
        assert not out


def test_predict_when_a_bundle_answers_writes_its_labels(
    tiny_bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["flood in Marlow", "http://example.org/a", "the quake and the storm", "tea"]
    test, submission = tmp_path / "test.csv", tmp_path / "submission.csv"
    pd.DataFrame({"id": [4, 2, 9, 1], "keyword": "", "location": "", "text": texts}).to_csv(test, index=False)
    assert evaluate.main(["--bundle", str(tiny_bundle_dir), "--predict", str(test), str(submission)]) == 0
    found = pd.read_csv(submission)
    assert found["id"].tolist() == [4, 2, 9, 1]
    answers = evaluate.open_source(evaluate._parser().parse_args(["--bundle", str(tiny_bundle_dir)])).answer(texts)
    assert found["target"].tolist() == [int(answer.score >= 0.5) for answer in answers]
    assert "4 rows, 1 of them 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--splits", "hidden_test"], "'hidden_test' is unknown; expected some of kaggle_random"),
        (["--limit", "-3"], "'-3' is no count"),
        (["--resamples", "0"], "--resamples: 0 is too few; expected at least 1"),
        (["--model", "a", "--bundle", "b"], "not allowed with argument"),
        (["--predict", "test.csv"], "expected 2 arguments"),
    ],
)
def test_arguments_when_wrong_are_refused_before_any_work(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_main_when_the_model_folder_is_missing_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--bundle", str(tmp_path / "nothing")]) == 1
    assert "evaluation refused: bundle.json is missing" in capsys.readouterr().err


def test_decision_report_counts_each_side_by_itself() -> None:
    rows = pd.DataFrame({"id": list("abcdef"), "target": [1, 0, 1, 0, 0, 1]})
    decisions = ("disaster", "disaster", "disaster", "not_disaster", "review", "review")
    scored = Scored(rows, Answers(np.array([0.9, 0.9, 0.9, 0.1, 0.5, 0.5]), decisions, ("",) * 6), {})
    found = decision_report(rows.iloc[::-1], scored)  # in another order than the answers
    assert (found["n"], found["share"], found["errors"], found["error_share"]["value"]) == (4, 0.6667, 1, 0.25)
    disaster, other = found["sides"]["disaster"], found["sides"]["not_disaster"]
    assert (disaster["n"], disaster["errors"], other["n"], other["errors"]) == (3, 1, 1, 0)
    # Together, the four surest hold an error. By side: of three at 0.9 one is wrong, more than 8 %; below, one row.
    assert found["hindsight"] == {"max_error_share": 0.08, "share": 0.0, "share_per_side": 0.1667}
    # Clopper-Pearson of 1 in 3, and of 0 in 1. Source: scipy.stats.binomtest(...).proportion_ci("exact").
    assert disaster["error_share"] == {"value": 0.3333, "low": 0.0084, "high": 0.9057}
    assert other["error_share"] == {"value": 0.0, "low": 0.0, "high": 0.975}


def test_decision_report_when_nothing_is_decided_has_no_error_share() -> None:
    rows = pd.DataFrame({"id": ["a"], "target": [1]})
    found = decision_report(rows, Scored(rows, Answers(np.array([0.5]), ("review",), ("",)), {}))
    assert (found["share"], found["error_share"]) == (0.0, None)
