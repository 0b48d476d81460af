"""Pictures of the data card, from its figures alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.reports.plots import COLOURS, DPI
from training.data.whole_files import written_whole

POSITIVE, NEGATIVE = COLOURS[1], COLOURS[0]


def plot_data(folder: Path, report: Mapping[str, Any]) -> list[str]:
    """Write the pictures into a folder that is there; return the file names.

    Args:
        folder: is there.
        report: of `training.reports.data_report.data_report`.
    """
    pictures: dict[str, tuple[Callable[[Axes, Mapping[str, Any]], None], tuple[float, float]]] = {
        "label-balance.png": (_balance, (5.6, 2.4)),
        "events.png": (_events, (6.4, 0.8 + 0.26 * len(report["events"]))),
        "tokens.png": (_tokens, (5.6, 3.6)),
        "group-sizes.png": (_group_sizes, (5.6, 3.2)),
        "contradictions.png": (_contradictions, (5.6, 2.8)),
    }
    if report["agreement"]["rows"]:
        pictures["agreement.png"] = (_agreement, (5.0, 3.2))
    for name, (draw, size) in pictures.items():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        draw(axes, report)
        axes.spines[["top", "right"]].set_visible(False)
        # Without the library's version in it: the same figures shall give the same bytes.
        with written_whole(folder / name) as path:
            figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
    return list(pictures)


def _bars(axes: Axes, names: list[str], positive: list[int], total: list[int]) -> None:
    places = range(len(names))
    negative = [rows - hits for rows, hits in zip(total, positive, strict=True)]
    axes.barh(places, positive, color=POSITIVE, label="disaster")
    axes.barh(places, negative, left=positive, color=NEGATIVE, label="not_disaster")
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("tweets")
    axes.legend(fontsize=8, frameon=False)


def _balance(axes: Axes, report: Mapping[str, Any]) -> None:
    found = report["collections"]
    _bars(axes, list(found), [part["positive"] for part in found.values()], [part["rows"] for part in found.values()])
    axes.set_title("Labels of each collection")


def _events(axes: Axes, report: Mapping[str, Any]) -> None:
    events = report["events"]
    names = [f"{event['event']} ({event['source'].rpartition('_')[2]})" for event in events]
    _bars(axes, names, [event["positive"] for event in events], [event["rows"] for event in events])
    axes.set_title("Labels of each event")


def _tokens(axes: Axes, report: Mapping[str, Any]) -> None:
    found = report["tokens"]
    for colour, (source, lengths) in zip(COLOURS, found["collections"].items(), strict=False):
        counts = lengths["histogram"]
        places = [found["bin_tokens"] * place for place in range(len(counts))]
        axes.step(places, [count / sum(counts) for count in counts], where="post", color=colour, label=source)
    axes.set(xlabel=f"tokens (last step: more than {found['max_tokens']})", ylabel="share of the tweets")
    axes.set_title("Length after normalising")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)


def _group_sizes(axes: Axes, report: Mapping[str, Any]) -> None:
    sizes = report["groups"]["sizes"]
    bars = axes.bar(list(sizes), list(sizes.values()), color=NEGATIVE)
    axes.bar_label(bars, [f"{count:,}" for count in sizes.values()], fontsize=8)
    axes.set(xlabel="distinct texts in the group", ylabel="groups", yscale="log", title="Near-duplicate groups")
    axes.set_ylim(bottom=0.8)


def _contradictions(axes: Axes, report: Mapping[str, Any]) -> None:
    found = report["contradictions"]
    for offset, (key, label, colour) in enumerate(
        (
            ("rows", "rows whose text also has the other label", POSITIVE),
            ("rows_of_groups", "rows whose near-duplicates also have it", NEGATIVE),
        )
    ):
        places = [place + 0.4 * offset for place in range(len(found))]
        bars = axes.barh(places, [part[key] for part in found.values()], height=0.36, color=colour, label=label)
        axes.bar_label(bars, fontsize=8, padding=2)
    axes.set_yticks([place + 0.2 for place in range(len(found))], list(found), fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("tweets")
    axes.set_title("Contradictory labels")
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _agreement(axes: Axes, report: Mapping[str, Any]) -> None:
    counts = report["agreement"]["histogram"]
    edges = report["agreement"]["edges"]
    bars = axes.bar([f"{low:.1f}-{high:.1f}" for low, high in pairwise(edges)], counts, color=NEGATIVE)
    axes.bar_label(bars, [f"{count:,}" for count in counts], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set(xlabel="share of the crowd behind the label", ylabel="Kaggle tweets", title="Crowd agreement")
