"""Three pictures of a run: rates by connections, latency by load, engines against their limits."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmark.report.report import Results

STYLES = {
    ("baseline", "single"): ("baseline, served layers, single", "#888888", "o"),
    ("baseline_whole", "single"): ("baseline, whole MiniLM, single", "#333333", "x"),
    ("ours", "single"): ("ours, single", "#1f77b4", "o"),
    ("ours", "bulk"): ("ours, 64 a request", "#d62728", "s"),
    ("ours", "grpc"): ("ours, gRPC", "#2ca02c", "^"),
}


def draw(results: Results, folder: Path) -> None:
    """Write rates.png, latency.png and engines.png, those for which there are figures."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"rates": _rates, "latency": _latency, "engines": _engines}
    needed = {"rates": results.get("end_to_end"), "latency": results.get("open_loop"), "engines": True}
    for name, picture in pictures.items():
        if needed[name]:
            figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
            picture(axes, results)
            # Without a date, so that the same figures give the same bytes.
            figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})
            pyplot.close(figure)


def _rates(axes: Axes, results: Results) -> None:
    for key, (label, colour, marker) in STYLES.items():
        rows = sorted(
            (row for row in results["end_to_end"] if (row["profile"], row["kind"]) == key),
            key=lambda row: row["connections"],
        )
        if rows:
            spreads = [row["tweets_per_s"] for row in rows]
            middle = [found["median"] for found in spreads]
            low = [found["median"] - found["low"] for found in spreads]
            high = [found["high"] - found["median"] for found in spreads]
            connections = [row["connections"] for row in rows]
            axes.errorbar(connections, middle, yerr=[low, high], label=label, color=colour, marker=marker, capsize=3)
    axes.set(
        xscale="log", yscale="log", xlabel="connections", ylabel="tweets/s", title="Through TorchServe, closed loop"
    )
    axes.set_xticks([1, 8, 64, 256], labels=["1", "8", "64", "256"])
    axes.grid(alpha=0.3, which="both")
    axes.legend()


def _latency(axes: Axes, results: Results) -> None:
    rows = results["open_loop"]
    shares = [100 * row["share_of_capacity"] for row in rows]
    for name, colour in (("p50", "#1f77b4"), ("p95", "#ff7f0e"), ("p99", "#d62728")):
        axes.plot(shares, [row[f"{name}_ms"]["median"] for row in rows], label=name, color=colour, marker="o")
    axes.set(xlabel="% of capacity", ylabel="ms from the time due", title="Latency at a fixed rate", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()


def _engines(axes: Axes, results: Results) -> None:
    measured = results["engines"]
    rows = list(reversed(measured["engines"]))
    clock = "wall" if "single_wall" in rows[0] else "cpu"
    for place, row in enumerate(rows):
        rate = row[f"tweets_per_{clock}_s"]["median"]
        axes.barh(place, rate, color="#1f77b4")
        limit = measured["limits"].get(row["precision"])
        if limit:
            axes.plot([limit["tweets_per_s"]] * 2, [place - 0.4, place + 0.4], color="#d62728")
    axes.set_yticks(range(len(rows)), labels=[f"{row['engine']}\n{row['precision']}" for row in rows], fontsize=8)
    axes.set(xlabel="tweets/s, one core (red: limit of its precision)", title="Engines")
