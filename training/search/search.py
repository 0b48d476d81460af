"""Train again and again with other settings, and keep a record that outlives the process."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from training.data.data_lock import LOCK_FILE, read_lock
from training.data.datamodule import read_table
from training.errors import LossError, TrainingError
from training.learning.experiment_file import MACHINE_BOUND, check_experiment_file
from training.learning.fitting import CHECKPOINT_FOLDER, check_machine
from training.learning.settings import read_settings
from training.model.base_encoder import base_encoder_facts, resolve_base_encoder
from training.search.search_space import Parameter, with_values
from training.search.study_store import STORAGES, StudyRules, StudyStore, trials_that_count
from training.train import train

METRICS = ("f1", "roc_auc")
ERROR, FIGURES = "error", "figures"
# A trial that was killed starts anew, in at most the time of one trial: checkpoints would only fill the disk.
_NO_CHECKPOINT = 1_000_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchSettings:
    """One search.

    Args:
        name: of the winner's experiment file.
        metric: of the dev part that is maximised, "f1" or "roc_auc".
        trials: done in the whole study, over all processes and starts; those that were killed and repeated count once.
        seed: of the draws.
        startup_trials: drawn at random first.
        prune_from_check: first check of the dev metric, from 0, that may end a trial below the median.
        max_retries: of a trial whose process was killed.
        storage: "journal" or "sqlite".
        study_dir: holds the study, its plots and its figures.
        experiment_dir: where the winner is written.
    """

    name: str
    metric: str
    trials: int
    seed: int
    startup_trials: int
    prune_from_check: int
    max_retries: int
    storage: str
    study_dir: str
    experiment_dir: str

    def __post_init__(self) -> None:
        for key, value, allowed in (("metric", self.metric, METRICS), ("storage", self.storage, STORAGES)):
            if value not in allowed:
                raise TrainingError(f"hpo.{key} is {value!r}; expected one of {list(allowed)}")
        if not self.name.isidentifier():
            raise TrainingError(f"hpo.name is {self.name!r}; expected letters, digits and _: it names a file")
        for key, number, least in (
            ("trials", self.trials, 1),
            ("startup_trials", self.startup_trials, 1),
            ("prune_from_check", self.prune_from_check, 0),
            ("max_retries", self.max_retries, 0),
        ):
            if number < least:
                raise TrainingError(f"hpo.{key} is {number}; expected at least {least}")

    @property
    def rules(self) -> StudyRules:
        """Return how trials are drawn, stopped and repeated."""
        return StudyRules(self.seed, self.startup_trials, self.prune_from_check, self.max_retries)


class PruneOnDev(pl.Callback):
    """Report the dev metric at each check, and end a trial that is below the median of the others there.

    Args:
        trial: of the study.
        metric: see `SearchSettings`.

    Raises:
        optuna.TrialPruned: from the check that ends the trial; never from the last, when the model is trained anyway.
    """

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self._trial = trial
        self._metric = f"dev/{metric}"
        self._check = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and prune."""
        self._trial.report(float(trainer.callback_metrics[self._metric]), self._check)
        self._check += 1
        if trainer.global_step < trainer.estimated_stepping_batches and self._trial.should_prune():
            raise optuna.TrialPruned(f"check {self._check - 1}")


class Search:
    """What one process does of a search; a context manager.

    Args:
        content: the configuration of a training, as Hydra composed it.
        settings: of the search.
        space: what is drawn.
        base: folder of the base encoder; None resolves the pinned one.

    Raises:
        TrainingError: machine, data, settings or study do not allow it; before the first trial.
    """

    def __init__(
        self,
        content: Mapping[str, Any],
        settings: SearchSettings,
        space: tuple[Parameter, ...],
        base: Path | None = None,
    ) -> None:
        self.settings = settings
        self._space = space
        self._content = content
        self._folder = Path(settings.study_dir)
        run = read_settings({**content, "output_dir": str(self._folder)})
        check_machine(run)
        check_experiment_file(Path(settings.experiment_dir), settings.name)
        read_table(Path(run.data_dir))
        self._base = base or resolve_base_encoder()
        common = with_values(content, {parameter.path: "drawn" for parameter in space})
        about = {
            "metric": settings.metric,
            "seed": settings.seed,
            "startup_trials": settings.startup_trials,
            "prune_from_check": settings.prune_from_check,
            "space": {
                parameter.path: optuna.distributions.distribution_to_json(parameter.distribution) for parameter in space
            },
            "settings": {key: value for key, value in common.items() if key not in MACHINE_BOUND},
            "data": read_lock(Path(run.data_dir) / LOCK_FILE),
            "base_model": dict(base_encoder_facts(self._base)),
        }
        self.store = StudyStore(self._folder, settings.storage, settings.rules, about)

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *error: object) -> None:
        # A trial that this process leaves unfinished is from now on one whose process died: the next start repeats it.
        self.store.close()

    def run(self) -> None:
        """Run trials until the study has enough."""
        total = self.settings.trials
        with tqdm(total=total, desc="trials", unit="trial", disable=None) as bar:
            while True:
                trial = self.store.ask(total, self._space)
                done = sum(trial.state.is_finished() for trial in trials_that_count(self.store.trials()))
                bar.update(min(done, total) - bar.n)
                if trial is None:
                    return
                self._run_trial(trial)

    def content_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration of a training with drawn values."""
        return with_values(self._content, values)

    def _run_trial(self, trial: optuna.Trial) -> None:
        folder = self._folder / "trials" / f"{trial.number:04d}"
        shutil.rmtree(folder, ignore_errors=True)
        content = with_values(
            self.content_of(trial.params),
            {
                "output_dir": str(folder),
                "model_dir": "",
                "ckpt_path": "",
                "callbacks.checkpoint_every_steps": _NO_CHECKPOINT,
            },
        )
        log.info("trial %d: %s", trial.number, trial.params)
        study = self.store.study
        try:
            result = train(read_settings(content), self._base, callbacks=[PruneOnDev(trial, self.settings.metric)])
        except optuna.TrialPruned as pruned:
            study.tell(trial, state=TrialState.PRUNED)
            log.info("trial %d: pruned at %s", trial.number, pruned)
        except LossError as error:
            trial.set_user_attr(ERROR, str(error))
            study.tell(trial, state=TrialState.FAIL)
            log.warning("trial %d: %s", trial.number, error)
        else:
            dev = result.facts["dev"]
            trial.set_user_attr(FIGURES, dict(dev))
            study.tell(trial, float(dev[self.settings.metric]))
            log.info("trial %d: %s %.4f", trial.number, self.settings.metric, dev[self.settings.metric])
        shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
