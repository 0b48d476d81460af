"""Every configuration composes into settings, and a wrong one is refused by its path."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.errors import ConfigCompositionException

from tests.conftest import ROOT
from tests.training.conftest import compose_settings
from training.errors import TrainingError
from training.fitting import check_machine
from training.settings import Settings

CONFIGS = ROOT / "training" / "configs"
# Composed outside of Hydra's main there is no run folder to point to.
PLACE = "output_dir=outputs/test"


def _choices() -> list[str]:
    return sorted(f"{path.parent.name}={path.stem}" for path in CONFIGS.glob("*/*.yaml"))


@pytest.mark.parametrize("choice", _choices())
def test_config_of_every_choice_becomes_settings(choice: str) -> None:
    assert isinstance(compose_settings(choice, PLACE), Settings)


def test_config_files_are_short() -> None:
    assert len(_choices()) > 10
    for path in CONFIGS.rglob("*.yaml"):
        assert len(path.read_text().splitlines()) <= 40, path


def test_config_of_an_experiment_changes_what_it_says() -> None:
    assert compose_settings("experiment=first", PLACE).model.num_hidden_layers == 6
    assert compose_settings("experiment=kaggle_only", PLACE).data.t6_per_event == 0
    quick = compose_settings("debug=quick", PLACE)
    assert (quick.version_suffix, quick.trainer.max_epochs) == ("debug", 1)
    assert compose_settings("debug=overfit", PLACE).model_dir == ""


def test_config_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'model\.layers'"):
        compose_settings("model.layers=3", PLACE)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+model.layers=3", r"model has unknown keys \['layers'\]"),
        ("~model.attention", r"model has unknown keys \[\] and lacks \['attention'\]"),
        ("model.num_hidden_layers=six", "model.num_hidden_layers is 'six'; expected int"),
        ("model.num_hidden_layers=2.5", "model.num_hidden_layers is 2.5; expected int"),
        ("seed=null", "seed is None; expected int"),
        ("data.t6_events=storm", "data.t6_events is 'storm'; expected a list"),
        ("data.t6_events=[1]", r"data.t6_events\[0\] is 1; expected str"),
        ("model.lora=3", "model.lora is 3; expected a group"),
        ("logger.kind=wandb", r"logger.kind is 'wandb'; expected one of \['tensorboard', 'csv', 'none'\]"),
        ("trainer.accelerator=tpu", "trainer.accelerator is 'tpu'"),
        ("model.attention=flash", "model.attention is 'flash'"),
        ("callbacks.ema_decay=1.5", r"callbacks.ema_decay is 1.5; expected a share"),
        ("ckpt_path=nowhere.ckpt", "ckpt_path is nowhere.ckpt; expected a checkpoint file"),
    ],
)
def test_config_with_a_wrong_value_is_refused_by_its_path(override: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        compose_settings(override, PLACE)


def test_check_machine_of_a_missing_gpu_is_refused_at_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings = compose_settings("trainer=gpu", f"output_dir={tmp_path / 'run'}")
    with pytest.raises(TrainingError, match=r"accelerator is gpu and torch sees none.*use trainer\.accelerator=cpu"):
        check_machine(settings)
    assert not (tmp_path / "run").exists()


def test_check_machine_of_a_full_disk_is_refused_at_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.fitting._FREE_BYTES", 1 << 62)
    with pytest.raises(TrainingError, match=r"MB free; expected .* MB for checkpoints"):
        check_machine(compose_settings(f"output_dir={tmp_path}"))
