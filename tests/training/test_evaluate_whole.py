"""Held-out trainings, behaviour and seeds into one report and card, by the commands themselves, on a tiny model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.conftest import PLACES, kaggle_rows, write_csv
from training import evaluate
from training.evaluation import answer_sources, behaviour
from training.experiments import generalisation, seeds
from training.learning.settings import Settings
from training.make_dataset import make_dataset
from training.train import train

TINY = ("data=kaggle", "data.batch_size=8", "data.max_tokens=64", "data.dev_share=0.3", "data.calibration_share=0.3")
TINY += ("data.t6_events=[2013_Test_Floods]", "data.t6_per_event=2", "model.num_hidden_layers=2", "logger=none")
TINY += ("model.learning.learning_rate=0.01", "model.learning.head_learning_rate=0.01", "trainer.max_epochs=1")
TINY += ("callbacks.ema_decay=0.5", "data.teacher_weight=0", "data.agreement_weight=0")


@pytest.fixture(autouse=True)
def _tiny_base(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (evaluate, answer_sources, generalisation):
        monkeypatch.setattr(module, "resolve_base_encoder", lambda: tiny_base)


def seed_folders(model: Path, tmp_path: Path) -> list[str]:
    """Folders that say what five trainings would: only the first was trained."""
    folders = []
    for seed in range(5):
        facts = json.loads((model / "training.json").read_text(encoding="utf-8"))
        facts["seeds"]["training"] = facts["recipe"]["seed"] = seed
        facts["dev"]["f1"] = 0.5 + seed / 100
        folder = tmp_path / f"seed{seed}"
        folder.mkdir()
        (folder / "training.json").write_text(json.dumps(facts), encoding="utf-8")
        folders.append(str(folder))
    return folders


def test_evaluate_with_held_out_trainings_behaviour_and_seeds_puts_all_of_them_into_report_and_card(
    tiny_settings: Callable[..., Settings], raw_dir: Path, data_dir: Path, tiny_base: Path, tmp_path: Path
) -> None:
    rows = [{**row, "keyword": f"word{index % 12}"} for index, row in enumerate(kaggle_rows())]
    write_csv(raw_dir / "train.csv", rows)
    make_dataset(raw_dir, data_dir, accept_changed=True)
    train(tiny_settings(*TINY), tiny_base)
    model, held_out, cases, spread = (tmp_path / name for name in ("model", "held", "behaviour.json", "seeds.json"))

    arguments = ["--output", str(held_out), "--resamples", "20", f"data_dir={data_dir}", *TINY]
    assert generalisation.main(arguments) == 0
    assert behaviour.main(["--model", str(model), "--output", str(cases)]) == 0
    assert seeds.main([*seed_folders(model, tmp_path), "--output", str(spread)]) == 0
    card, output = tmp_path / "docs" / "card.md", tmp_path / "out"
    attached = ["--generalisation", str(held_out / "generalisation.json"), "--behaviour", str(cases)]
    attached += ["--seeds", str(spread)]
    places = ["--data", str(raw_dir), "--prepared", str(data_dir), "--work", str(tmp_path / "work")]
    what = ["--splits", "kaggle_random", "--baselines", "none", "--resamples", "20"]
    told = ["--output", str(output), "--card", str(card)]
    assert evaluate.main(["--model", str(model), *places, *what, *attached, *told]) == 0

    report, written = (output / "report.md").read_text(encoding="utf-8"), card.read_text(encoding="utf-8")
    for text in (report, written):
        for case in ("keyword", "event:2013_Test_Floods", "collection:crisislex_t6", "collection:crisislex_t26"):
            assert f"| {case} | " in text
        assert [line.split(" |")[0] for line in text.splitlines() if line.startswith("| curve:")][::2] == [
            f"| curve:{share:g}" for share in generalisation.CURVE_SHARES
        ]
        assert "| functionality | all | " in text
        assert "0.5200 ± 0.0158" in text
        assert "Not measured" not in text
        assert "not measured for" not in text
        assert "One training, one seed" not in text
        assert not any(place in text for place in PLACES)  # no row's text
    assert "![learning-curve](learning-curve.png)" in report
    assert (output / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert "Their recipe is not the model's" not in report
    assert "{{" not in written

    with (raw_dir / "train.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)  # raw files are only read
