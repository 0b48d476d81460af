"""A study on disk, shared by processes of one machine, that loses nothing when one of them is killed."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from training.errors import TrainingError
from training.search.process_lock import ProcessLock
from training.search.search_space import Parameter
from training.search.trial_sampler import RETRY_OF, TrialSampler

STORAGES = ("journal", "sqlite")
_OWNER, _ABOUT = "process", "about"
_LOCK_WAIT_S = 120.0  # SQLite: how long one process waits for another's write


@dataclass(frozen=True)
class StudyRules:
    """How trials are drawn, stopped and repeated.

    Args:
        seed: of all draws.
        startup_trials: at random, before the estimator is asked and before any is pruned.
        prune_from_check: first check of the dev metric, from 0, at which a trial below the median is pruned.
        max_retries: of a trial whose process was killed; then it is given up, since it may be what kills.
    """

    seed: int
    startup_trials: int
    prune_from_check: int
    max_retries: int


class StudyStore:
    """Trials of one search; open it in each process that takes part.

    A process holds a lock as long as it lives. A trial that is still running by the name of a process whose lock is
    free was killed: it is marked failed and its values are put in the queue again, whoever comes next.

    Args:
        folder: of the study; is made when missing.
        kind: "journal" or "sqlite".
        rules: see there.
        about: what the trials have in common; a study that was begun with something else is refused.

    Raises:
        TrainingError: the file is damaged, or the study is about something else.
    """

    def __init__(self, folder: Path, kind: str, rules: StudyRules, about: Mapping[str, Any]) -> None:
        self._rules = rules
        self._processes = folder / "processes"
        self._processes.mkdir(parents=True, exist_ok=True)
        self.turn = ProcessLock(folder / "turn.lock")
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._alive = ProcessLock(self._processes / self._name)
        self._alive.acquire()
        with self.turn:
            self.study = self._open(folder, kind, about)

    def close(self) -> None:
        """Say that this process takes no more part."""
        with self.turn:
            (self._processes / self._name).unlink()
            self._alive.release()

    def ask(self, total: int, space: Sequence[Parameter]) -> optuna.Trial | None:
        """Return the next trial, its values drawn; None when `total` are done or being worked at.

        One process asks at a time, so that a running trial without an owner is one whose process was killed here.
        """
        with self.turn:
            self._repeat_killed()
            trials = self.trials()
            if len(trials_that_count(trials)) >= total and not _waiting(trials):
                return None
            trial = self.study.ask({parameter.path: parameter.distribution for parameter in space})
            trial.set_user_attr(_OWNER, self._name)
            return trial

    def trials(self) -> list[FrozenTrial]:
        """Return every trial, in the order of its number."""
        return self.study.get_trials(deepcopy=False)

    def _open(self, folder: Path, kind: str, about: Mapping[str, Any]) -> optuna.Study:
        try:
            study = optuna.create_study(
                storage=_storage(folder, kind),
                sampler=TrialSampler(self._rules.seed, self._rules.startup_trials),
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=self._rules.startup_trials, n_warmup_steps=self._rules.prune_from_check
                ),
                study_name=folder.name,
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:  # each storage has its own errors, of json, of sqlite3, of sqlalchemy
            raise TrainingError(
                f"{folder} holds no study that can be read ({type(error).__name__}: {error}); move it away, or set "
                "hpo.study_dir"
            ) from error
        begun = study.user_attrs.get(_ABOUT)
        if begun is None:
            study.set_user_attr(_ABOUT, json.dumps(about))
        elif json.loads(begun) != json.loads(json.dumps(about)):
            changed = _differences(json.loads(begun), json.loads(json.dumps(about)))
            raise TrainingError(
                f"the study in {folder} was begun with other settings: {'; '.join(changed)}; trials of both cannot be "
                "compared; go on with the old settings, or set hpo.study_dir"
            )
        return study

    def _repeat_killed(self) -> None:
        killed = {
            trial.number
            for trial in self.trials()
            if trial.state == TrialState.RUNNING and not self._lives(trial.user_attrs.get(_OWNER))
        }
        # Read again: a process may have ended its trial well before it died.
        trials = self.trials()
        repeated = numbers_repeated(trials)
        for trial in (trials[number] for number in killed):
            if trial.state != TrialState.RUNNING:
                continue
            # In this order a process that is killed in between leaves nothing lost and nothing doubled.
            if trial.number not in repeated and _retries(trial, trials) < self._rules.max_retries:
                values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                self.study.enqueue_trial(values, user_attrs={RETRY_OF: trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _lives(self, owner: str | None) -> bool:
        if owner == self._name:
            return True
        path = self._processes / str(owner)
        if owner is None or not path.exists():
            return False
        lock = ProcessLock(path)
        if not lock.acquire(wait=False):
            return True
        path.unlink(missing_ok=True)
        lock.release()
        return False


def numbers_repeated(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the killed trials that have a retry."""
    return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}


def trials_that_count(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that are done, given up, or being worked at: those of the number that was asked for."""
    repeated = numbers_repeated(trials)
    return [trial for trial in trials if trial.number not in repeated and trial.state != TrialState.WAITING]


def _waiting(trials: Sequence[FrozenTrial]) -> bool:
    return any(trial.state == TrialState.WAITING for trial in trials)


def _retries(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    found = 0
    while RETRY_OF in trial.user_attrs:
        trial = trials[trial.user_attrs[RETRY_OF]]
        found += 1
    return found


def _storage(folder: Path, kind: str) -> BaseStorage:
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": _LOCK_WAIT_S}})
    path = folder / "study.journal"
    lock = ProcessLock(folder / "journal.lock")
    with lock:
        _mend(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))  # type: ignore[arg-type]  # same two methods


def _mend(path: Path) -> None:
    """Cut off a last line that a full disk left unfinished; with another after it the journal could not be read."""
    if not path.exists() or not path.stat().st_size:
        return
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [line for key in keys for line in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path} was {old!r} and is {new!r}"]
