"""What a search found: figures as JSON, and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from training.reports.plots import COLOURS, DPI
from training.search.search import ERROR, FIGURES
from training.search.search_parallel import draw_parallel
from training.search.trial_sampler import RETRY_OF

FIGURES_FILE = "search.json"
# Complete trials; fewer say nothing about any setting. Optuna would answer all the same.
LEAST_FOR_IMPORTANCE = 4
LEAST_FOR_PARALLEL = 4
_GREY = "0.6"


def search_figures(study: optuna.Study, metric: str) -> dict[str, Any]:
    """Return every trial, the best, and how much each setting mattered.

    Importance is the share of the spread between the better trials and all that a setting explains.

    Source: Watanabe et al. 2023, arXiv:2304.10255 (PED-ANOVA), as in Optuna.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return {
        "metric": f"dev {metric}",
        "trials": [_entry(trial) for trial in trials],
        "best": _entry(study.best_trial) if complete else None,
        "importance": _importance(study, complete),
        "about": json.loads(study.user_attrs["about"]),
        "versions": {"optuna": version("optuna"), "torch": version("torch")},
    }


def write_search_report(folder: Path, figures: dict[str, Any]) -> list[Path]:
    """Write search.json, history.png, checks.png; importance.png and parallel.png where there is something to show.

    Args:
        folder: is there.
        figures: of `search_figures`.
    """
    path = folder / FIGURES_FILE
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    written = [path]
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    _history(figure.add_subplot(), figures)
    written.append(_save(figure, folder / "history.png"))
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    _checks(figure.add_subplot(), figures)
    written.append(_save(figure, folder / "checks.png"))
    if figures["importance"]:
        figure = Figure(figsize=(6.4, 0.9 + 0.35 * len(figures["importance"])), layout="constrained")
        _bars(figure.add_subplot(), figures)
        written.append(_save(figure, folder / "importance.png"))
    complete = [trial for trial in figures["trials"] if trial["state"] == "complete"]
    if len(complete) >= LEAST_FOR_PARALLEL:
        figure = Figure(figsize=(2.4 + 1.5 * len(complete[0]["settings"]), 4.4), layout="constrained")
        draw_parallel(figure, complete, figures["metric"], figures["about"]["space"])
        written.append(_save(figure, folder / "parallel.png"))
    return written


def _entry(trial: FrozenTrial) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration else None
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "settings": trial.params,
        "checks": {str(step): round(value, 6) for step, value in sorted(trial.intermediate_values.items())},
        "figures": trial.user_attrs.get(FIGURES),
        "retry_of": trial.user_attrs.get(RETRY_OF),
        "error": trial.user_attrs.get(ERROR),
        # Of a trial that was killed: until another process noticed.
        "seconds": None if seconds is None or trial.state == TrialState.FAIL else round(seconds, 1),
    }


def _importance(study: optuna.Study, complete: Sequence[FrozenTrial]) -> dict[str, float] | None:
    if len(complete) < LEAST_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return None
    found = optuna.importance.get_param_importances(study)
    return {name: round(share, 4) for name, share in found.items()}


def _history(axes: Axes, figures: dict[str, Any]) -> None:
    complete = [(trial["number"], trial["value"]) for trial in figures["trials"] if trial["state"] == "complete"]
    pruned = [
        (trial["number"], list(trial["checks"].values())[-1])
        for trial in figures["trials"]
        if trial["state"] == "pruned" and trial["checks"]
    ]
    failed = [trial["number"] for trial in figures["trials"] if trial["state"] == "fail"]
    if complete:
        numbers, values = zip(*complete, strict=True)
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=_GREY, label="best so far", linewidth=1.2)
        axes.plot(numbers, values, "o", color=COLOURS[0], label=f"complete ({len(complete)})")
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", color=COLOURS[1], label=f"pruned, its last check ({len(pruned)})")
    for place, number in enumerate(failed):
        label = f"failed or killed ({len(failed)})" if place == 0 else None
        axes.axvline(number, color=COLOURS[3], linewidth=0.8, linestyle=":", label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=figures["metric"], title="Search: what each trial reached")
    axes.legend(fontsize=8, frameon=False, loc="best")
    _clean(axes)


def _checks(axes: Axes, figures: dict[str, Any]) -> None:
    for trial in figures["trials"]:
        if not trial["checks"]:
            continue
        colour = {"complete": COLOURS[0], "pruned": COLOURS[1]}.get(trial["state"], COLOURS[3])
        steps = [int(step) for step in trial["checks"]]
        axes.plot(steps, list(trial["checks"].values()), "o-", color=colour, markersize=3, linewidth=1, alpha=0.7)
    for colour, state in ((COLOURS[0], "complete"), (COLOURS[1], "pruned"), (COLOURS[3], "running, failed or killed")):
        axes.plot([], [], "o-", color=colour, markersize=3, label=state)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="check", ylabel=figures["metric"], title="Search: the metric while training")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    _clean(axes)


def _bars(axes: Axes, figures: dict[str, Any]) -> None:
    found = sorted(figures["importance"].items(), key=lambda item: item[1])
    names = [name for name, _ in found]
    axes.barh(names, [share for _, share in found], color=COLOURS[0])
    for place, (_, share) in enumerate(found):
        axes.text(share + 0.01, place, f"{share:.2f}", va="center", fontsize=8)
    complete = sum(trial["state"] == "complete" for trial in figures["trials"])
    axes.set(xlabel="share of the spread that it explains", xlim=(0, 1.08))
    axes.set_title(f"Search: importance (PED-ANOVA, {complete} trials)")
    axes.tick_params(axis="y", labelsize=8)
    _clean(axes)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    # Otherwise the file would hold the library's version: the same figures shall give the same bytes.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path
