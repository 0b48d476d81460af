"""Whole searches with a tiny model: drawn, pruned, killed, resumed, shared, and the winner composes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import optuna
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import ROOT
from training.errors import TrainingError
from training.learning.settings import read_group, read_settings
from training.search.search import PruneOnDev, Search, SearchSettings
from training.search.search_report import search_figures
from training.search.search_space import read_space
from training.tune import tune

CONFIGS = ROOT / "training" / "configs"
CHOICES = {"data": "kaggle", "model": "minilm_3", "trainer": "cpu", "callbacks": "default", "logger": "none"}
TINY = ("logger=none", "data=kaggle", "data.batch_size=8", "data.max_tokens=32", "model=minilm_3")
TINY += ("model.num_hidden_layers=2", "callbacks.ema_decay=0.5", "hpo.startup_trials=2", "hpo.name=tiny_winner")
MakeContent = Callable[..., dict[str, Any]]
# What a search does in a process of its own; Hydra's part is left out, since it would want the real base encoder.
PROCESS = """
import json, os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from training.tune import tune
tune(json.loads(Path(sys.argv[1]).read_text()), json.loads(sys.argv[2]), Path(sys.argv[3]))
"""
# The whole command, with Hydra, its configuration and its own output. Only in a process: Hydra takes the logging of the
# process that it runs in, and within pytest's that ended a whole run.
COMMAND = """
import runpy, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import training.search.search
base = Path(sys.argv.pop(1))
training.search.search.resolve_base_encoder = lambda: base
runpy.run_module("training.tune", run_name="__main__", alter_sys=True)  # as `python -m` does
"""
TIME_OUT_S = 900  # of a process on a machine with other work


@pytest.fixture
def content(data_dir: Path, tmp_path: Path) -> MakeContent:
    """Return a function: study's name and Hydra overrides -> configuration of a search of seconds."""

    def make(study: str, *overrides: str) -> dict[str, Any]:
        (tmp_path / "experiment").mkdir(exist_ok=True)
        places = (f"data_dir={data_dir}", f"hpo.study_dir={tmp_path / study}")
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose(
                "search", overrides=[*TINY, *places, f"hpo.experiment_dir={tmp_path / 'experiment'}", *overrides]
            )
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]

    return make


def _start(content: dict[str, Any], base: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    path = tmp_path / "content.json"
    path.write_text(json.dumps(content))
    command = [sys.executable, "-c", PROCESS, str(path), json.dumps(CHOICES), str(base)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _states(figures: dict[str, Any]) -> list[str]:
    return [trial["state"] for trial in figures["trials"]]


def _done(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Settings and results of the trials that were not killed."""
    return [
        (trial["settings"], trial["value"], trial["checks"]) for trial in figures["trials"] if trial["state"] != "fail"
    ]


def _running(study_dir: Path) -> int | None:
    """Number of the trial that runs now, read from the journal as another process would."""
    if not (study_dir / "study.journal").exists():
        return None
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(study_dir / "study.journal"))
    )
    names = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=names[0], storage=storage).trials if names else []
    return next((trial.number for trial in trials if trial.state.name == "RUNNING"), None)


def test_tune_killed_in_the_middle_of_a_trial_and_resumed_finds_what_an_unbroken_one_finds(
    content: MakeContent, tiny_base: Path, tmp_path: Path
) -> None:
    slow = content("broken", "hpo.trials=4")
    process = _start(slow, tiny_base, tmp_path)
    deadline = time.monotonic() + TIME_OUT_S
    # The third trial has begun: with two more done, the estimator's state is in the study as well.
    while _running(tmp_path / "broken") != 2:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIME_OUT_S)
    resumed = tune(slow, CHOICES, tiny_base)
    whole = tune(content("whole", "hpo.trials=4"), CHOICES, tiny_base)
    assert _states(resumed)[2] == "fail"
    assert resumed["trials"][3]["retry_of"] == 2
    assert "fail" not in _states(whole)
    assert _done(resumed) == _done(whole)
    assert resumed["best"]["value"] == whole["best"]["value"]


def test_tune_by_two_processes_at_once_shares_the_trials(content: MakeContent, tiny_base: Path, tmp_path: Path) -> None:
    shared = content("shared", "hpo.trials=4", "hpo.storage=sqlite")
    processes = [_start(shared, tiny_base, tmp_path) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=TIME_OUT_S)
        assert process.returncode == 0, errors.decode()
    figures = json.loads((tmp_path / "shared" / "search.json").read_text())
    assert len(figures["trials"]) == 4
    assert set(_states(figures)) <= {"complete", "pruned"}
    rates = [trial["settings"]["model.learning.learning_rate"] for trial in figures["trials"]]
    assert len(set(rates)) == 4
    assert not list((tmp_path / "shared" / "processes").iterdir())


def test_tune_writes_plots_figures_and_a_winner_that_composes_to_the_best_trial(
    content: MakeContent, tiny_base: Path, tmp_path: Path
) -> None:
    figures = tune(content("study", "hpo.trials=5", "hpo.prune_from_check=3"), CHOICES, tiny_base)
    assert {path.name for path in (tmp_path / "study").glob("*.*") if path.suffix in (".png", ".json")} == {
        "checks.png",
        "history.png",
        "importance.png",
        "parallel.png",
        "search.json",
    }
    assert json.loads((tmp_path / "study" / "search.json").read_text()) == figures
    assert sum(figures["importance"].values()) == pytest.approx(1.0, abs=1e-3)
    assert str(tmp_path) not in json.dumps(figures)
    assert not list((tmp_path / "study" / "trials").rglob("*.ckpt"))
    best = figures["best"]
    assert best["value"] == max(trial["value"] for trial in figures["trials"] if trial["value"] is not None)
    assert best["value"] == best["figures"]["f1"]
    copy = Path(shutil.copytree(CONFIGS, tmp_path / "configs"))
    shutil.copy(tmp_path / "experiment" / "tiny_winner.yaml", copy / "experiment")
    with initialize_config_dir(str(copy), version_base="1.3"):
        config = compose("config", overrides=["experiment=tiny_winner", "output_dir=unused", "logger=none"])
    found = read_settings(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    settings = content("study")
    assert (found.data.batch_size, found.data.t6_per_event, found.model.num_hidden_layers) == (8, 0, 2)
    assert found.callbacks.checkpoint_every_steps == settings["callbacks"]["checkpoint_every_steps"]
    assert found.model.learning.learning_rate == best["settings"]["model.learning.learning_rate"]
    assert found.callbacks.ema_decay == best["settings"]["callbacks.ema_decay"]
    assert found.seed == 0


def test_search_prunes_a_trial_below_the_median(content: MakeContent, tiny_base: Path) -> None:
    training = content("study", "hpo.trials=3", "hpo.startup_trials=2", "hpo.prune_from_check=0")
    hpo = training.pop("hpo")
    rate = {"choices": [1e-12, 0.01]}
    space = read_space({"model": {"learning": {"learning_rate": rate, "head_learning_rate": rate}}}, training)
    settings = read_group(SearchSettings, {key: value for key, value in hpo.items() if key != "space"}, "hpo")
    with Search(training, settings, space, tiny_base) as search:
        for value in (0.01, 0.01, 1e-12):
            search.store.study.enqueue_trial({parameter.path: value for parameter in space})
        search.run()
        trials = search_figures(search.store.study, "f1")["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete", "pruned"]
    assert trials[2]["value"] is None
    assert len(trials[2]["checks"]) == 1 < len(trials[1]["checks"])


@pytest.mark.parametrize(("steps_done", "pruned"), [(9, True), (10, False)])
def test_prune_on_dev_ends_a_trial_below_the_median_but_not_at_its_last_check(steps_done: int, pruned: bool) -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    good = study.ask()
    good.report(0.9, 0)
    study.tell(good, 0.9)
    callback = PruneOnDev(study.ask(), "roc_auc")
    metrics = {"dev/f1": torch.tensor(0.95), "dev/roc_auc": torch.tensor(0.1)}
    trainer: Any = SimpleNamespace(callback_metrics=metrics, global_step=steps_done, estimated_stepping_batches=10)
    with pytest.raises(optuna.TrialPruned) if pruned else nullcontext():
        callback.on_validation_end(trainer, pl.LightningModule())
    assert study.trials[1].intermediate_values == {0: pytest.approx(0.1)}


def test_tune_of_settings_whose_loss_is_not_finite_goes_on_with_others(content: MakeContent, tiny_base: Path) -> None:
    settings = content("study", "hpo.trials=4", "hpo.startup_trials=4", "model.learning.warmup_share=0.0")
    settings["hpo"]["space"] = {"model": {"learning": {"head_learning_rate": {"choices": [1e30, 0.01]}}}}
    figures = tune(settings, CHOICES, tiny_base)
    failed = [trial for trial in figures["trials"] if trial["state"] == "fail"]
    assert failed
    assert all("expected a finite number" in trial["error"] and trial["retry_of"] is None for trial in failed)
    assert len(figures["trials"]) == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hpo.metric=accuracy", "hpo.metric is 'accuracy'; expected one of"),
        ("hpo.storage=memory", "hpo.storage is 'memory'"),
        ("hpo.trials=0", "hpo.trials is 0; expected at least 1"),
        ("hpo.name=../x", "hpo.name is '../x'; expected letters"),
        ("+hpo.trial=3", r"hpo has unknown keys \['trial'\]"),
        ("hpo.experiment_dir=nowhere", "nowhere is no folder"),
        ("data_dir=nowhere", r"tweets\.parquet is missing"),
    ],
)
def test_tune_of_wrong_settings_is_refused_before_the_first_trial(
    content: MakeContent, tiny_base: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        tune(content("study", override), CHOICES, tiny_base)
    assert not (tmp_path / "study" / "study.journal").exists()


def _main(base: Path, tmp_path: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, str(base), *overrides],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIME_OUT_S,
    )


def test_main_searches_prints_the_best_and_refuses_what_cannot_be_searched(
    data_dir: Path, tiny_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    places = (
        f"data_dir={data_dir}",
        f"hpo.study_dir={tmp_path / 'study'}",
        f"hpo.experiment_dir={tmp_path}/experiment",
    )
    done = _main(tiny_base, tmp_path, *TINY, *places, "hpo.trials=1")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "study" / "search.json").read_text())
    best = figures["best"]
    assert f"best dev f1 {best['value']:.4f}, trial 0: " in done.stdout
    assert {path.name for path in (tmp_path / "study").glob("*.png")} == {"checks.png", "history.png"}  # of one trial
    # Which groups were chosen is Hydra's to tell, and the winner must name them.
    winner = (tmp_path / "experiment" / "tiny_winner.yaml").read_text()
    assert "minilm_3" in winner
    assert not (tmp_path / "outputs").exists()

    refused = _main(tiny_base, tmp_path, *TINY, *places, "hpo.trials=0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.strip() == "search refused: hpo.trials is 0; expected at least 1"


def test_tune_never_overwrites_an_experiment_that_was_written_by_hand(
    content: MakeContent, tiny_base: Path, tmp_path: Path
) -> None:
    settings = content("study")
    (tmp_path / "experiment" / "tiny_winner.yaml").write_text("# @package _global_\nseed: 1\n")
    with pytest.raises(TrainingError, match="was written by hand"):
        tune(settings, CHOICES, tiny_base)
