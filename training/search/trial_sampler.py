"""Draws that depend on the seed and the trial alone, so that a search that was killed goes on as it would have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

RETRY_OF = "retry_of"


class TrialSampler(BaseSampler):
    """Optuna's TPE, seeded anew for each trial.

    A seeded `TPESampler` starts its random numbers from the top in each process: a resumed search would draw the
    first trials again, and two processes would draw the same ones. Here trial n has the seed (seed, n), where a retry
    has the n of the trial that it repeats and does not count.

    Args:
        seed: of the whole search.
        startup_trials: drawn at random before the estimator is asked.

    Source: Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization, section 4 (TPE).
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        self._seed = seed
        self._startup_trials = startup_trials
        self._current: tuple[int, TPESampler] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return TPE's answer."""
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return TPE's draw of the settings that it models together."""
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return TPE's draw of one setting."""
        return self._of(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Let TPE note the end of a trial."""
        self._of(study, trial).after_trial(study, trial, state, values)

    def _of(self, study: optuna.Study, trial: FrozenTrial) -> TPESampler:
        if self._current is None or self._current[0] != trial.number:
            place = place_of(trial, study.get_trials(deepcopy=False))
            seed = int(np.random.default_rng([self._seed, place]).integers(2**32))
            self._current = (trial.number, TPESampler(seed=seed, n_startup_trials=self._startup_trials))
        return self._current[1]


def place_of(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """Return the number that a trial would have if none had been killed."""
    first = trial
    while RETRY_OF in first.user_attrs:
        first = trials[first.user_attrs[RETRY_OF]]
    return sum(RETRY_OF not in other.user_attrs for other in trials[: first.number])
