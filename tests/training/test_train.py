"""Whole trainings of a tiny model: it learns, repeats itself, resumes, and refuses nonsense."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from training.errors import TrainingError
from training.learning.settings import Settings
from training.model.model import load_merged
from training.train import train

MakeSettings = Callable[..., Settings]
REQUIRED_FACTS = {
    "model_version",
    "labels",
    "max_tokens",
    "num_hidden_layers",
    "normaliser_version",
    "temperature",
    "thresholds",
    "base_model",
    "data",
    "seeds",
    "versions",
    "recipe",
    "dev",
    "train_seconds",
    "lora",
}


def _adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter.safetensors")


def test_train_of_a_tiny_model_learns_and_writes_the_model_folder(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    result = train(tiny_settings("trainer.max_epochs=6"), tiny_base)
    assert result.dev_f1 > 0.9
    folder = tmp_path / "model"
    assert {path.name for path in folder.iterdir()} == {"adapter.safetensors", "golden.jsonl", "training.json"}
    facts = json.loads((folder / "training.json").read_text())
    assert facts.keys() >= REQUIRED_FACTS
    assert facts["dev"]["f1"] == result.dev_f1
    assert str(tmp_path) not in (folder / "training.json").read_text()
    merged, _ = load_merged(folder, tiny_base)
    samples = [json.loads(line) for line in (folder / "golden.jsonl").read_text().splitlines()]
    assert len(samples) > 30
    for sample in samples:
        ids = torch.tensor([sample["input_ids"]])
        assert merged(ids, torch.ones_like(ids)).softmax(-1)[0].tolist() == pytest.approx(
            sample["probabilities"], abs=1e-6
        )


def test_train_overfitting_a_few_tweets_brings_the_loss_to_the_floor(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    settings = tiny_settings("debug=overfit", "data.limit_rows=16", "logger=csv", "model_dir=", "trainer.max_epochs=60")
    train(settings, tiny_base)
    lines = (tmp_path / "run" / "csv" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/loss")
    losses = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert losses[0] > 0.3
    assert losses[-1] < 0.05
    assert not (tmp_path / "model").exists()


def test_train_twice_with_a_seed_gives_the_same_model_and_metric(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    results = [train(tiny_settings(f"model_dir={tmp_path / name}"), tiny_base) for name in ("first", "second")]
    other = train(tiny_settings(f"model_dir={tmp_path / 'other'}", "seed=1"), tiny_base)
    assert results[0].dev_f1 == results[1].dev_f1
    assert results[0].facts["model_version"] == results[1].facts["model_version"] != other.facts["model_version"]
    first, second, third = (_adapter(tmp_path / name) for name in ("first", "second", "other"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], third["head.weight"])


@pytest.mark.parametrize("stop_at", [4, 11])  # in the middle of the first epoch, and at its end
def test_train_resumed_from_a_checkpoint_ends_as_if_never_stopped(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path, stop_at: int
) -> None:
    class KilledError(Exception):
        pass

    train(tiny_settings(f"model_dir={tmp_path / 'whole'}"), tiny_base)
    saving = f"callbacks.checkpoint_every_steps={stop_at}"
    killed = tiny_settings(f"model_dir={tmp_path / 'killed'}", f"output_dir={tmp_path / 'killed_run'}", saving)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.learning.fitting.RateReport.on_train_batch_end", _raise_after(stop_at + 2, KilledError))
        with pytest.raises(KilledError):
            train(killed, tiny_base)
    checkpoint = tmp_path / "killed_run" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == stop_at
    train(tiny_settings(f"model_dir={tmp_path / 'resumed'}", f"ckpt_path={checkpoint}", saving), tiny_base)
    whole, resumed = _adapter(tmp_path / "whole"), _adapter(tmp_path / "resumed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def _raise_after(step: int, error: type[Exception]) -> Callable[..., None]:
    def on_train_batch_end(self: Any, trainer: Any, *rest: Any) -> None:
        if trainer.global_step >= step:
            raise error

    return on_train_batch_end


def test_train_with_a_loss_that_is_not_finite_stops_with_the_step(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    settings = tiny_settings("model.learning.head_learning_rate=1e30", "model.learning.warmup_share=0.0")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+; expected a finite number"):
        train(settings, tiny_base)
    assert not (tmp_path / "model").exists()


def test_train_without_data_is_refused_before_anything_is_built(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"tweets\.parquet is missing"):
        train(tiny_settings(f"data_dir={tmp_path / 'nowhere'}"), tiny_base)


def test_train_that_fails_leaves_the_old_model_alone(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny_settings("trainer.max_epochs=1"), tiny_base)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    monkeypatch.setattr("training.model.model_folder.MAX_BYTES", 1000)
    with pytest.raises(TrainingError, match="expected at most 1000"):
        train(tiny_settings("trainer.max_epochs=2"), tiny_base)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".model")] == []


def test_main_of_a_refused_run_prints_one_line_and_exits_with_1(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "training.train", f"data_dir={tmp_path / 'nowhere'}", f"hydra.run.dir={tmp_path / 'o'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.strip().startswith("training refused:")
    assert "Traceback" not in result.stderr
