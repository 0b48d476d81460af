"""Pictures of an evaluation, without a display and without pyplot's global state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, precision_recall_curve

from training.evaluation.metrics import BINS, Floats, Labels, weighted_metrics
from training.model.model import LABELS

DPI = 110
# Okabe and Ito's colours, told apart by colour-blind readers too. Source: jfly.uni-koeln.de/color, 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
SWEEP = np.linspace(0.02, 0.98, 97)
_GREY = "0.55"
# Otherwise the file would hold the library's version: the same figures shall give the same bytes.
_METADATA = {"Software": None}


def plot_split(
    folder: Path, split: str, systems: Mapping[str, Floats], targets: Labels, decision: Mapping[str, Any]
) -> list[str]:
    """Write confusion matrix, PR curve, reliability diagram, threshold sweep and risk curve; return the file names.

    Args:
        folder: is there.
        split: goes into titles and file names.
        systems: name -> (rows,) p(disaster); the first is the model.
        targets: (rows,) 0 or 1.
        decision: of the report; its share decided and errors are marked on the risk curve.
    """
    score = next(iter(systems.values()))
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    _confusion(figure.add_subplot(), score, targets, split)
    names = [_save(figure, folder, f"{split}-confusion.png")]
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    _precision_recall(figure.add_subplot(), systems, targets, split)
    names.append(_save(figure, folder, f"{split}-precision-recall.png"))
    figure = Figure(figsize=(5.0, 5.6), layout="constrained")
    _reliability(figure, score, targets, split)
    names.append(_save(figure, folder, f"{split}-reliability.png"))
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    _thresholds(figure.add_subplot(), score, targets, split)
    names.append(_save(figure, folder, f"{split}-thresholds.png"))
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    _risk(figure.add_subplot(), systems, targets, split, decision)
    names.append(_save(figure, folder, f"{split}-risk.png"))
    return names


def plot_events(folder: Path, events: Mapping[str, Any]) -> str:
    """Write ROC-AUC of the model on each CrisisLexT26 event with its interval; return the file name."""
    found = [
        (entry["systems"]["model"]["roc_auc"], event, entry["trained_event"])
        for event, entry in events.items()
        if entry["systems"]["model"]["roc_auc"]["value"] is not None
    ]
    found.sort(key=lambda item: item[0]["value"])
    figure = Figure(figsize=(6.4, 0.9 + 0.28 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    for place, (estimate, _, trained) in enumerate(found):
        colour = _GREY if trained else COLOURS[0]
        if estimate["low"] is not None:
            axes.plot((estimate["low"], estimate["high"]), (place, place), color=colour, linewidth=1.5)
        axes.plot(estimate["value"], place, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(found)), [event + (" *" if trained else "") for _, event, trained in found], fontsize=8)
    axes.axvline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("ROC-AUC, 95 % interval (* event also in the training)")
    axes.set_title("Model on the events of CrisisLexT26")
    _clean(axes)
    return _save(figure, folder, "crisislex_t26-events.png")


def plot_learning_curve(folder: Path, cases: Mapping[str, Any]) -> list[str]:
    """Write F1 and ROC-AUC on Kaggle's dev rows against the number of training tweets, with intervals.

    Args:
        folder: is there.
        cases: of `python -m training.experiments.generalisation`; those named curve:SHARE are drawn.

    Returns:
        The file's name, or nothing where fewer than two shares were trained: a point is no curve.
    """
    found = [case for name, case in cases.items() if name.startswith("curve:")]
    if len(found) < 2:
        return []
    found.sort(key=lambda case: sum(case["trained_rows"].values()))
    counts = [sum(case["trained_rows"].values()) for case in found]
    figure = Figure(figsize=(8.6, 3.8), layout="constrained")
    for axes, metric, heading in zip(figure.subplots(1, 2), ("f1", "roc_auc"), ("F1", "ROC-AUC"), strict=True):
        for colour, system in zip(COLOURS, found[0]["systems"], strict=False):
            estimates = [case["systems"][system][metric] for case in found]
            values = [np.nan if entry["value"] is None else entry["value"] for entry in estimates]
            axes.plot(counts, values, "o-", color=colour, label=system, markersize=4, linewidth=1.4)
            for count, entry in zip(counts, estimates, strict=True):
                if entry["low"] is not None:
                    axes.plot((count, count), (entry["low"], entry["high"]), color=colour, linewidth=1, alpha=0.6)
        axes.set(xscale="log", xlabel="tweets trained on, repeats counted", ylabel=f"{heading}, 95 % interval")
        axes.set_xticks(counts, [f"{count:,}" for count in counts], fontsize=8)
        axes.minorticks_off()
        axes.set_title(f"Learning curve: {heading}, n = {found[0]['rows']}")
        _clean(axes)
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    return [_save(figure, folder, "learning-curve.png")]


def _confusion(axes: Axes, score: Floats, targets: Labels, split: str) -> None:
    counts = confusion_matrix(targets, score >= 0.5, labels=[0, 1])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            text = f"{counts[row, column]}\n{shares[row, column]:.1%}"
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.set_xticks((0, 1), LABELS)
    axes.set_yticks((0, 1), LABELS, rotation=90, va="center")
    axes.set(xlabel="said", ylabel="true (shares of each row)", title=f"{split}, n = {len(targets)}")


def _precision_recall(axes: Axes, systems: Mapping[str, Floats], targets: Labels, split: str) -> None:
    for colour, (name, score) in zip(COLOURS, systems.items(), strict=False):
        if np.ptp(score) == 0:  # one score for all: a point, not a curve
            continue
        precision, recall, _ = precision_recall_curve(targets, score)
        area = weighted_metrics(score, targets, np.ones((1, len(targets))))["pr_auc"][0]
        # The last point, recall 0, is the library's convention and no threshold's.
        axes.step(recall[:-1], precision[:-1], where="post", color=colour, label=f"{name} ({area:.3f})", linewidth=1.4)
    axes.axhline(targets.mean(), color=_GREY, linewidth=0.8, linestyle=":", label=f"chance ({targets.mean():.3f})")
    axes.set(xlabel="recall", ylabel="precision", title=f"{split}: precision and recall (area)", xlim=(0, 1))
    axes.set_ylim(max(0.0, float(targets.mean()) - 0.1), 1.01)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    _clean(axes)


def _reliability(figure: Figure, score: Floats, targets: Labels, split: str) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    places = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    upper.plot((0, 1), (0, 1), color=_GREY, linewidth=0.8, linestyle=":")
    for place in np.unique(places):
        inside = places == place
        share, count = float(targets[inside].mean()), int(inside.sum())
        # Half a width of a 95 % normal interval: how far a bin of so few rows may lie from the diagonal by chance.
        spread = 1.96 * np.sqrt(max(share * (1 - share), 1 / count / 4) / count)
        upper.errorbar(score[inside].mean(), share, yerr=spread, fmt="o", color=COLOURS[0], markersize=4, linewidth=1)
    upper.set(ylabel="share of disasters", title=f"{split}: reliability, {BINS} bins", xlim=(0, 1), ylim=(-0.02, 1.02))
    lower.hist(score, bins=np.linspace(0, 1, BINS + 1), color=COLOURS[0], edgecolor="white")
    lower.set(xlabel="score, p(disaster)", ylabel="tweets")
    _clean(upper)
    _clean(lower)


def _thresholds(axes: Axes, score: Floats, targets: Labels, split: str) -> None:
    positive = targets == 1
    said = score[None, :] >= SWEEP[:, None]
    hits, alarms = said[:, positive].sum(1), said.sum(1)
    right = hits + (~said[:, ~positive]).sum(1)
    precision = np.divide(hits, alarms, out=np.full(len(SWEEP), np.nan), where=alarms > 0)
    curves = {
        "F1": 2 * hits / (alarms + positive.sum()),
        "precision": precision,
        "recall": hits / max(1, positive.sum()),
        "accuracy": right / len(targets),
    }
    for colour, (name, values) in zip(COLOURS, curves.items(), strict=False):
        axes.plot(SWEEP, values, color=colour, label=name, linewidth=1.4)
    axes.axvline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="threshold", title=f"{split}: figures at every threshold", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(fontsize=8, frameon=False, loc="lower center")
    _clean(axes)


def _risk(axes: Axes, systems: Mapping[str, Floats], targets: Labels, split: str, decision: Mapping[str, Any]) -> None:
    """Draw the errors among the most confident tweets against their share.

    Source: Geifman and El-Yaniv 2017, arXiv:1705.08500 (risk and coverage).
    """
    covered = np.arange(1, len(targets) + 1)
    for colour, (name, score) in zip(COLOURS, systems.items(), strict=False):
        if np.ptp(score) == 0:
            continue
        order = np.argsort(-np.abs(score - 0.5), kind="stable")
        errors = ((score >= 0.5) != (targets == 1))[order].cumsum()
        # The first few tweets make a share of errors that says nothing.
        start = min(20, len(targets) - 1)
        axes.plot((covered / len(targets))[start:], (errors / covered)[start:], color=colour, label=name, linewidth=1.4)
    limit = decision["hindsight"]["max_error_share"]
    axes.axhline(limit, color=_GREY, linewidth=0.8, linestyle=":", label=f"limit of `decision`, {limit:.0%}")
    if decision["n"]:
        point = (decision["share"], decision["error_share"]["value"])
        axes.plot(*point, "o", color=COLOURS[0], markersize=7, label="the model's own decisions")
    axes.set(xlabel="share of tweets decided, most confident first", ylabel="errors among them", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.set_title(f"{split}: risk and coverage")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    _clean(axes)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, folder: Path, name: str) -> str:
    FigureCanvasAgg(figure)
    figure.savefig(folder / name, dpi=DPI, metadata=_METADATA)
    return name
