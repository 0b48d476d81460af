"""Search for better settings: `python -m training.tune hpo=recipe hpo.trials=20 data_dir=data/processed`.

The study lies in `hpo.study_dir`. The same command goes on with it after a kill, and as often as it is started at once,
so many processes share it. The winner is written as an experiment: `python -m training.train experiment=recipe_winner`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from training.errors import TrainingError
from training.learning.experiment_file import write_experiment_file
from training.learning.settings import read_group
from training.model.base_encoder import BaseEncoderError
from training.model.model import AdapterError
from training.search.search import Search, SearchSettings
from training.search.search_report import search_figures, write_search_report
from training.search.search_space import read_space

log = logging.getLogger(__name__)


def tune(content: Mapping[str, Any], choices: Mapping[str, str], base: Path | None = None) -> dict[str, Any]:
    """Run what is missing of a search, and write report and winner.

    Args:
        content: the configuration of a training, with the group `hpo`.
        choices: Hydra's choice for each group.
        base: folder of the base encoder; None resolves the pinned one.

    Returns:
        The figures as written to search.json.

    Raises:
        TrainingError: machine, data, settings or study do not allow it, or no trial came to its end.
    """
    training = {key: value for key, value in content.items() if key != "hpo"}
    hpo = dict(content["hpo"])
    space = read_space(hpo.pop("space", {}), training)
    settings = read_group(SearchSettings, hpo, "hpo")
    with Search(training, settings, space, base) as search:
        search.run()
        with search.store.turn:
            figures = search_figures(search.store.study, settings.metric)
            paths = write_search_report(Path(settings.study_dir), figures)
            best = figures["best"]
            if best is None:
                raise TrainingError(f"none of {len(figures['trials'])} trials came to its end; see {paths[0]}")
            folder = Path(settings.experiment_dir)
            note = _note(settings, figures)
            paths.append(
                write_experiment_file(folder, settings.name, search.content_of(best["settings"]), choices, note)
            )
    log.info("written: %s", ", ".join(map(str, paths)))
    return figures


def _note(settings: SearchSettings, figures: dict[str, Any]) -> str:
    states = [trial["state"] for trial in figures["trials"]]
    best = figures["best"]
    return (
        f"Trial {best['number']} of a search: dev {settings.metric} {best['value']:.4f}, the best of "
        f"{states.count('complete')} ({states.count('pruned')} more were\n"
        "pruned), so a little too hopeful: it was chosen on that figure."
    )


@hydra.main(version_base="1.3", config_path="configs", config_name="search")
def main(config: DictConfig) -> None:
    """Search as configured."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        figures = tune(content, HydraConfig.get().runtime.choices)  # type: ignore[arg-type]  # the top is a mapping
    except (TrainingError, AdapterError, BaseEncoderError) as error:
        print(f"search refused: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    best = figures["best"]
    print(f"best {figures['metric']} {best['value']:.4f}, trial {best['number']}: {best['settings']}")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as in training.train
    main()
