"""Figures of several seeds become mean and deviation; what differs in more than the seed is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.experiments import seeds
from training.experiments.seeds import collect_seeds, seeds_table, seeds_text
from training.reports.report_markdown import ONE_SEED, report_markdown

F1 = (0.80, 0.81, 0.82, 0.83, 0.84)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Model folders of five seeds, the highest first."""
    found = []
    for seed, f1 in reversed(list(enumerate(F1))):
        figures = {"f1": f1, "accuracy": 0.85, "roc_auc": 0.9}
        facts = {
            "model_version": f"v{seed}",
            "seeds": {"training": seed, "split": 0},
            "recipe": {"seed": seed, "data": {"t6_per_event": 2000}},
            "data": {"train.csv": {"sha256": "ab", "rows": 9}},
            "dev": {"n": 985, **figures, "decided_share": 0.5},
            "dev_distinct": {"n": 859, **figures},
        }
        folder = tmp_path / f"seed{seed}"
        folder.mkdir()
        (folder / "training.json").write_text(json.dumps(facts), encoding="utf-8")
        found.append(folder)
    return found


def change(folder: Path, what: Change) -> None:
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    what(facts)
    (folder / "training.json").write_text(json.dumps(facts), encoding="utf-8")


def test_main_of_five_seeds_writes_mean_deviation_and_each_seed(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "seeds.json"
    assert seeds.main([*map(str, folders), "--output", str(output)]) == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert (report["trainings"], report["seeds"]) == (5, [0, 1, 2, 3, 4])
    assert report["model_versions"] == ["v0", "v1", "v2", "v3", "v4"]
    # Sample standard deviation of five values 0.01 apart: 0.01 sqrt(2.5).
    assert report["parts"]["dev"]["figures"]["f1"] == {
        "mean": 0.82, "sd": 0.0158, "lowest": 0.8, "highest": 0.84, "by_seed": list(F1),
    }  # fmt: skip
    assert "| Kaggle, dev part, rows as they came | 985 | 0.8200 ± 0.0158 | 0.8500 ± 0.0000 |" in seeds_table(report)
    assert "| 859 | 0.8200 ± 0.0158 |" in capsys.readouterr().out
    assert seeds_text(report).startswith("5 trainings of this recipe, which differ in their seed alone (0, 1, 2, 3, 4)")
    assert "F1 0.8200 ± 0.0158, accuracy 0.8500 ± 0.0000, ROC-AUC 0.9000" in seeds_text(report)


def test_collect_seeds_leaves_out_a_part_that_a_training_does_not_tell(folders: list[Path]) -> None:
    change(folders[2], lambda facts: facts.pop("dev_distinct"))
    change(folders[3], lambda facts: facts["dev"].pop("decided_share"))
    report = collect_seeds(folders)
    assert list(report["parts"]) == ["dev"]
    assert report["parts"]["dev"]["figures"]["decided_share"] is None
    assert seeds_table(report).splitlines()[2].endswith("| - | - |")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda facts: facts["seeds"].update(training=1), r"are of seeds \[0, 1, 1, 2, 3\]; expected each once"),
        (lambda facts: facts["recipe"]["data"].update(t6_per_event=9), r"differ in data\.t6_per_event: 2000, 9"),
        (lambda facts: facts["data"]["train.csv"].update(sha256="cd"), "have other raw files"),
        (lambda facts: facts["dev"].update(n=7), r"dev has \[7, 985\] rows"),
        (lambda facts: facts.pop("recipe"), r"tells no training \(KeyError: 'recipe'\)"),
    ],
)
def test_main_of_trainings_that_differ_in_more_than_the_seed_refuses(
    folders: list[Path], tmp_path: Path, what: Change, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folders[0], what)
    with pytest.raises(TrainingError, match=message):
        collect_seeds(folders)
    assert seeds.main([*map(str, folders), "--output", str(tmp_path / "seeds.json")]) == 1
    assert "seeds refused: " in capsys.readouterr().err
    assert not (tmp_path / "seeds.json").exists()


def test_collect_seeds_of_too_few_refuses(folders: list[Path]) -> None:
    with pytest.raises(TrainingError, match="4 model folders were given; expected at least 5"):
        collect_seeds(folders[:4])


def test_report_markdown_tells_what_seeds_move_or_that_it_was_not_measured(folders: list[Path]) -> None:
    report: dict[str, Any] = {
        "source": {"model_version": "v0", "kind": "model", "name": "model"},
        "method": dict.fromkeys(
            ("interval", "resamples", "threshold", "ece", "ece_positive", "ece_adaptive", "ece_note", "nll"), 1
        ),
        **{"asked_tweets": 0, "tweets_per_second": 1.0, "training_note": "", "baselines": [], "splits": {}},
        "t26_events": {},
    }
    assert ONE_SEED in report_markdown(report, [])
    with_seeds = report_markdown({**report, "seeds": collect_seeds(folders)}, [])
    assert "0.8200 ± 0.0158" in with_seeds
    assert ONE_SEED not in with_seeds
