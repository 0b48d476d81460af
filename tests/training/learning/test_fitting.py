"""Runs that are killed, stopped early, out of disk or given a wrong checkpoint."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from training.errors import TrainingError
from training.learning.settings import Settings
from training.train import train

MakeSettings = Callable[..., Settings]
PROCESS = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from training.learning.settings import read_settings
from training.train import train
train(read_settings(json.loads(Path(sys.argv[1]).read_text())), Path(sys.argv[2]))
"""
TIME_OUT_S = 900  # of a process on a machine with other work


def _adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter.safetensors")


def _same(first: Path, second: Path) -> bool:
    one, other = _adapter(first), _adapter(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_train_killed_by_the_kernel_and_resumed_is_the_same_model(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    common = ("trainer.max_epochs=12", "callbacks=early_stop", "callbacks.early_stop_epochs=11")
    common += ("callbacks.ema_decay=0.5", "callbacks.checkpoint_every_steps=7", "model.encoder_dropout=0.1")
    killed = tiny_settings(*common, f"output_dir={tmp_path / 'killed_run'}", f"model_dir={tmp_path / 'killed'}")
    (tmp_path / "settings.json").write_text(json.dumps(asdict(killed)))
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "settings.json"), str(tiny_base)]
    checkpoint = tmp_path / "killed_run" / "checkpoints" / "last.ckpt"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + TIME_OUT_S
        while not checkpoint.exists():
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIME_OUT_S)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    resumed = train(tiny_settings(*common, f"ckpt_path={checkpoint}", f"model_dir={tmp_path / 'resumed'}"), tiny_base)
    whole = train(tiny_settings(*common, f"model_dir={tmp_path / 'whole'}"), tiny_base)
    assert resumed.dev_f1 == whole.dev_f1
    assert resumed.facts["model_version"] == whole.facts["model_version"]
    assert _same(tmp_path / "resumed", tmp_path / "whole")


def test_train_with_early_stop_ends_after_so_many_checks_without_a_better_one(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    frozen = ("model.learning.learning_rate=1e-12", "model.learning.head_learning_rate=1e-12", "logger=csv")
    settings = tiny_settings(
        *frozen, "trainer.max_epochs=20", "callbacks=early_stop", "callbacks.early_stop_epochs=2", "model_dir="
    )
    train(settings, tiny_base)
    lines = (tmp_path / "run" / "csv" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("dev/f1")
    assert sum(bool(line.split(",")[column]) for line in lines[1:]) == 3  # the first, and two no better


def test_train_with_several_checks_an_epoch_reports_so_many(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    train(tiny_settings("logger=csv", "trainer.max_epochs=2", "trainer.checks_per_epoch=3", "model_dir="), tiny_base)
    lines = (tmp_path / "run" / "csv" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("dev/f1")
    assert sum(bool(line.split(",")[column]) for line in lines[1:]) == 6


def test_train_in_bf16_on_a_cpu_learns_and_keeps_weights_in_32_bits(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    result = train(tiny_settings("trainer=cpu_bf16", "trainer.max_epochs=6"), tiny_base)
    assert result.dev_f1 > 0.9
    assert _adapter(tmp_path / "model")["head.weight"].dtype == torch.float32


def test_train_on_a_cpu_without_bf16_warns(
    tiny_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from training.learning.fitting import check_machine

    monkeypatch.setattr("training.learning.fitting._multiplies_bf16", lambda: False)
    with caplog.at_level("WARNING"):
        check_machine(tiny_settings("trainer=cpu_bf16"))
    assert "32-true would be faster" in caplog.text


def test_train_on_a_disk_that_fills_up_names_the_checkpoint_to_go_on_from(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    save = ModelCheckpoint._save_checkpoint

    def full_at_the_second(self: ModelCheckpoint, trainer: Any, filepath: str) -> None:
        if Path(filepath).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, trainer, filepath)

    monkeypatch.setattr(ModelCheckpoint, "_save_checkpoint", full_at_the_second)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(TrainingError, match=f"is full at step 8; make room.*ckpt_path={checkpoint}"):
        train(tiny_settings("callbacks.checkpoint_every_steps=4"), tiny_base)
    assert checkpoint.is_file()


def test_train_from_a_damaged_checkpoint_or_one_of_another_model_is_refused(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path
) -> None:
    train(tiny_settings("callbacks.checkpoint_every_steps=4", "trainer.max_epochs=1", "model_dir="), tiny_base)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(TrainingError, match=r"is of another model: .*layer\.1.* there and missing here"):
        train(tiny_settings("model.num_hidden_layers=1", f"ckpt_path={checkpoint}"), tiny_base)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(TrainingError, match="which is no checkpoint"):
        train(tiny_settings(f"ckpt_path={checkpoint}"), tiny_base)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("kind", "files"), [("simple", ["fit-simple.txt"]), ("pytorch", None)])
def test_train_with_a_profiler_writes_its_table(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path, kind: str, files: list[str] | None
) -> None:
    train(tiny_settings("debug=profiler", f"trainer.profiler={kind}", "trainer.max_epochs=3"), tiny_base)
    found = sorted(path.name for path in (tmp_path / "run" / "profile").iterdir())
    if files:
        assert found == files
    else:
        assert [name for name in found if name.endswith(".json")]
        assert "aten::addmm" in (tmp_path / "run" / "profile" / "fit-pytorch.txt").read_text()
