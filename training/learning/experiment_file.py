"""Write settings as a file of Hydra's group `experiment`: what was found by a search can be trained by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from training.errors import TrainingError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# What belongs to a run and its machine, not to the recipe.
MACHINE_BOUND = ("data_dir", "output_dir", "model_dir", "ckpt_path", "logger", "version_suffix")
_NOT_OF_AN_EXPERIMENT = (*MACHINE_BOUND, "seed")
_MARK = "# Written by `python -m training.tune`"


def check_experiment_file(folder: Path, name: str) -> None:
    """Raise TrainingError when a file of that name stands there that no search has written."""
    path = folder / f"{name}.yaml"
    if path.is_file() and _MARK not in path.read_text(encoding="utf-8"):
        raise TrainingError(f"{path} was written by hand; expected a free name for the winner; set hpo.name")
    if not folder.is_dir():
        raise TrainingError(f"{folder} is no folder; expected one for the winner's file; set hpo.experiment_dir")


def write_experiment_file(
    folder: Path, name: str, content: Mapping[str, Any], choices: Mapping[str, str], note: str
) -> Path:
    """Write `NAME.yaml`, so that `experiment=NAME` composes to exactly these settings.

    Args:
        folder: of the group `experiment`.
        name: of the experiment.
        content: a whole configuration.
        choices: Hydra's choice for each group, e.g. `{"data": "kaggle"}`.
        note: goes into the file's first lines.
    """
    groups = {
        group: choice for group, choice in choices.items() if group in content and group not in _NOT_OF_AN_EXPERIMENT
    }
    plain = _compose([*(f"{group}={choice}" for group, choice in groups.items()), "~experiment", "output_dir=unused"])
    changed = _changes(plain, content)
    body = {"defaults": [{f"override /{group}": choice} for group, choice in groups.items()]}
    body |= {key: value for key, value in changed.items() if key not in _NOT_OF_AN_EXPERIMENT}
    path = folder / f"{name}.yaml"
    lines = ["# @package _global_", *(f"# {line}" for line in note.splitlines()), f"{_MARK}; change it there."]
    path.write_text("\n".join(lines) + "\n" + yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
    return path


def _compose(overrides: list[str]) -> Any:
    """Return the composed configuration as plain values, whether or not Hydra's main is around."""
    running = GlobalHydra.get_state()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
    finally:
        GlobalHydra.set_state(running)


def _changes(plain: Any, content: Any) -> Any:
    """Return the part of `content` that `plain` has not, in the same shape."""
    changed = {}
    for key, value in content.items():
        before = plain.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inside = _changes(before, value)
            if inside:
                changed[key] = inside
        elif value != before:
            changed[key] = value
    return changed
