"""Every configuration composes into settings, and a wrong one is refused by its path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from tests.conftest import ROOT
from tests.training.conftest import compose_settings
from training.errors import TrainingError
from training.learning.fitting import check_machine, make_trainer
from training.learning.settings import Settings, read_group, read_settings
from training.search.search import SearchSettings
from training.search.search_space import read_space

CONFIGS = ROOT / "training" / "configs"
# Composed outside of Hydra's main there is no run folder to point to.
PLACE = "output_dir=outputs/test"


GROUPS = {"data", "model", "trainer", "callbacks", "logger", "experiment", "hpo", "debug"}


def _choices(*groups: str) -> list[str]:
    paths = [path for path in CONFIGS.glob("*/*.yaml") if not groups or path.parent.name in groups]
    return sorted(f"{path.parent.name}={path.stem}" for path in paths)


def test_config_groups_are_all_there() -> None:
    assert {path.name for path in CONFIGS.iterdir() if path.is_dir()} >= GROUPS


@pytest.mark.parametrize("choice", [choice for choice in _choices() if not choice.startswith("hpo=")])
def test_config_of_every_choice_becomes_settings_and_a_trainer(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = compose_settings(choice, f"output_dir={tmp_path}")
    assert isinstance(settings, Settings)
    if settings.trainer.accelerator == "gpu":
        settings = replace(settings, trainer=replace(settings.trainer, accelerator="cpu"))
    # Without the run that a logger of Weights & Biases begins at once: tests/training/learning/test_curves.py has one.
    if settings.logger.kind == "wandb":
        settings = replace(settings, logger=replace(settings.logger, kind="none"))
    trainer = make_trainer(settings)
    assert trainer.max_epochs == settings.trainer.max_epochs
    assert trainer.precision == settings.trainer.precision


@pytest.mark.parametrize("choice", _choices("hpo"))
def test_config_of_every_search_becomes_settings_and_a_space(choice: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("search", overrides=[choice, PLACE])
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    hpo = content.pop("hpo")
    assert isinstance(read_settings(content), Settings)
    assert read_space(hpo.pop("space"), content)
    assert read_group(SearchSettings, hpo, "hpo").trials > 0


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
        ("logger.kind=paper", r"logger.kind is 'paper'; expected one of \['tensorboard', 'csv', 'wandb', 'none'\]"),
        ("logger.mode=both", "logger.mode is 'both'; expected one of"),
        ("trainer.precision=16-mixed", "trainer.precision is '16-mixed'; expected one of"),
        ("trainer.profiler=gprof", "trainer.profiler is 'gprof'"),
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
    monkeypatch.setattr("training.learning.fitting._FREE_BYTES", 1 << 62)
    with pytest.raises(TrainingError, match=r"MB free; expected .* MB for checkpoints"):
        check_machine(compose_settings(f"output_dir={tmp_path}"))
