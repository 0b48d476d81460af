"""Compose the settings of a training as the command line does, for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from training.errors import TrainingError
from training.learning.settings import Settings, read_settings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def compose(overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of the default training with Hydra overrides.

    Args:
        overrides: as `python -m training.train` takes them. The output folder is none of Hydra's: set `output_dir`.

    Raises:
        TrainingError: an override does not fit.
    """
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = hydra.compose("config", overrides=["output_dir=unused", *overrides])
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise TrainingError(f"{' '.join(overrides)} does not fit the configuration: {error}") from error
    return read_settings(content)  # type: ignore[arg-type]  # the top of a config is a mapping
