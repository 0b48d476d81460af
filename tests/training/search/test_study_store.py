"""Studies survive their processes: nothing lost, nothing doubled, the same draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from training.errors import TrainingError
from training.search.search_space import Parameter
from training.search.study_store import StudyRules, StudyStore, trials_that_count
from training.search.trial_sampler import RETRY_OF

SPACE = (Parameter("x", FloatDistribution(-1, 1)), Parameter("y", FloatDistribution(1e-3, 1, log=True)))
RULES = StudyRules(seed=3, startup_trials=3, prune_from_check=0, max_retries=2)
KINDS = pytest.mark.parametrize("kind", ["journal", "sqlite"])


def _store(folder: Path, kind: str = "journal", **about: Any) -> StudyStore:
    return StudyStore(folder, kind, RULES, {"x": 1, **about})


def _work(store: StudyStore, total: int) -> None:
    while trial := store.ask(total, SPACE):
        store.study.tell(trial, -((trial.params["x"] - 0.3) ** 2) - trial.params["y"])


def _die(store: StudyStore) -> None:
    """Leave as a killed process does: the kernel frees its lock, and nothing else happens."""
    store._alive.release()


def _finished(store: StudyStore) -> list[dict[str, float]]:
    return [trial.params for trial in store.trials() if trial.state == TrialState.COMPLETE]


@KINDS
def test_ask_until_the_total_gives_so_many_trials_over_all_starts(tmp_path: Path, kind: str) -> None:
    for total in (4, 4, 6):
        store = _store(tmp_path / "study", kind)
        _work(store, total)
        store.close()
        assert len(_finished(store)) == total
    assert not list((tmp_path / "study" / "processes").iterdir())


# SQLite waits for the disk at each write, so once is enough.
@pytest.mark.parametrize(("kind", "killed_at"), [("journal", 0), ("journal", 2), ("journal", 6), ("sqlite", 2)])
def test_ask_after_a_kill_repeats_the_trial_and_goes_on_as_if_never_killed(
    tmp_path: Path, kind: str, killed_at: int
) -> None:
    whole = _store(tmp_path / "whole", kind)
    _work(whole, 7)
    broken = _store(tmp_path / "broken", kind)
    _work(broken, killed_at)
    lost = broken.ask(7, SPACE)
    assert lost is not None
    _die(broken)
    resumed = _store(tmp_path / "broken", kind)
    _work(resumed, 7)
    assert _finished(resumed) == _finished(whole)
    trials = resumed.trials()
    assert trials[lost.number].state == TrialState.FAIL
    assert [trial.user_attrs.get(RETRY_OF) for trial in trials].count(lost.number) == 1
    assert len(trials) == 8


def test_ask_while_another_lives_leaves_its_trial_alone(tmp_path: Path) -> None:
    first, second = _store(tmp_path / "study"), _store(tmp_path / "study")
    held = first.ask(3, SPACE)
    _work(second, 3)
    assert held is not None
    assert [trial.state for trial in second.trials()] == [TrialState.RUNNING] + 2 * [TrialState.COMPLETE]
    first.study.tell(held, 0.0)
    first.close()
    assert second.ask(3, SPACE) is None


def test_ask_by_two_processes_never_draws_the_same_values(tmp_path: Path) -> None:
    stores = [_store(tmp_path / "study") for _ in range(2)]
    for _ in range(4):
        for store in stores:
            assert store.ask(8, SPACE)
    values = [trial.params["x"] for trial in stores[0].trials()]
    assert len(set(values)) == len(values) == 8


def test_ask_of_a_trial_that_kills_each_process_gives_it_up_at_last(tmp_path: Path) -> None:
    for _ in range(1 + RULES.max_retries):
        store = _store(tmp_path / "study")
        assert store.ask(1, SPACE)
        _die(store)
    last = _store(tmp_path / "study")
    assert last.ask(1, SPACE) is None
    assert len({trial.params["x"] for trial in last.trials()}) == 1
    assert [trial.state for trial in last.trials()] == 3 * [TrialState.FAIL]
    assert len(trials_that_count(last.trials())) == 1


def test_open_with_other_settings_is_refused_and_says_which(tmp_path: Path) -> None:
    _store(tmp_path / "study", data={"rows": 5}).close()
    with pytest.raises(TrainingError, match=r"other settings: data\.rows was 5 and is 6; x was 1 and is 2"):
        _store(tmp_path / "study", data={"rows": 6}, **{"x": 2})


def test_open_of_a_journal_whose_last_line_is_cut_off_goes_on(tmp_path: Path) -> None:
    store = _store(tmp_path / "study")
    _work(store, 2)
    store.close()
    journal = tmp_path / "study" / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    again = _store(tmp_path / "study")
    _work(again, 3)
    assert len(_finished(again)) == 3
    assert journal.read_bytes().startswith(whole)


@KINDS
def test_open_of_a_damaged_file_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "study").mkdir()
    for name in ("study.journal", "study.db"):
        (tmp_path / "study" / name).write_text("this is no study\n" * 200)
    with pytest.raises(TrainingError, match="holds no study that can be read"):
        _store(tmp_path / "study", kind)
