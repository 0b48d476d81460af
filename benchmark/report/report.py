"""The results as people read them: goals with what was reached, for the README, and a page of all figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.figures import spread

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
NOT_MEASURED = "Not measured yet: `make benchmark`."
Results = Mapping[str, Any]


@dataclass(frozen=True)
class Reached:
    """One figure with its spread.

    Args:
        value: the median; None where nothing was answered.
        text: as shown, unit included.
    """

    value: float | None
    text: str


@dataclass(frozen=True)
class Goal:
    """One promise of the project.

    Args:
        what: for people.
        bound: number to reach.
        at_least: True when more is better.
        shown: the bound with its unit.
        read: takes the figure out of the results; LookupError where it was not measured.
    """

    what: str
    bound: float
    at_least: bool
    shown: str
    read: Callable[[Results], Reached]

    def is_met(self, reached: Reached) -> bool:
        """Tell whether the median reaches the bound."""
        if reached.value is None:
            return False
        return reached.value >= self.bound if self.at_least else reached.value <= self.bound


def row_of(results: Results, profile: str, kind: str, connections: int) -> Mapping[str, Any]:
    """Return one row of the end-to-end table.

    Raises:
        LookupError: it was not measured.
    """
    for row in results["end_to_end"]:
        if (row["profile"], row["kind"], row["connections"]) == (profile, kind, connections):
            return dict(row)
    raise LookupError(f"{profile}, {kind}, {connections} connections")


def ratio(over: Mapping[str, Any], under: Mapping[str, Any], unit: str = "x") -> Reached:
    """Return the ratio of two spreads, repetition by repetition where they are as many."""
    pairs = list(zip(over["values"], under["values"], strict=False))
    values = [first / second for first, second in pairs if second]
    if not values:
        raise LookupError("nothing to divide by")
    middle = over["median"] / under["median"]
    return Reached(middle, f"{number(middle)}{unit} ({number(min(values))} to {number(max(values))})")


def number(value: float | None) -> str:
    """Return a figure with three digits that say something, and thousands parted."""
    if value is None or math.isnan(value):
        return "not measured"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _spread(found: Mapping[str, Any], unit: str) -> Reached:
    text = f"{number(found['median'])}{unit} ({number(found['low'])} to {number(found['high'])})"
    return Reached(found["median"], text)


def _share_of_limit(name: str) -> Callable[[Results], Reached]:
    def read(results: Results) -> Reached:
        for row in results["engines"]["engines"]:
            if row["engine"] == name:
                share = row["share_of_limit"]
                values = [100 * share[key] for key in ("median", "low", "high")]
                return Reached(values[0] / 100, "{:.0f} % ({:.0f} to {:.0f})".format(*values))
        raise LookupError(name)

    return read


def _single_ratio(baseline: str) -> Callable[[Results], Reached]:
    def read(results: Results) -> Reached:
        ours = row_of(results, "ours", "single", 64)["tweets_per_s"]
        return ratio(ours, row_of(results, baseline, "single", 64)["tweets_per_s"])

    return read


def _bulk_ratio(baseline: str) -> Callable[[Results], Reached]:
    def read(results: Results) -> Reached:
        rows = [row for row in results["end_to_end"] if row["profile"] == "ours" and row["kind"] == "bulk"]
        best = max(rows, key=lambda row: row["tweets_per_s"]["median"])
        return ratio(best["tweets_per_s"], row_of(results, baseline, "single", 64)["tweets_per_s"])

    return read


def _unloaded(figure: str) -> Callable[[Results], Reached]:
    return lambda results: _spread(row_of(results, "ours", "single", 1)[figure], " ms")


def _open_loop_p99(results: Results) -> Reached:
    for row in results["open_loop"]:
        if row["share_of_capacity"] == 0.7:
            return _spread(row["p99_ms"], " ms")
    raise LookupError("70 % of capacity")


def _grpc(results: Results) -> Reached:
    rest = row_of(results, "ours", "single", 64)["tweets_per_s"]
    return ratio(row_of(results, "ours", "grpc", 64)["tweets_per_s"], rest)


def _gateway_row(results: Results, way: str, connections: int) -> Mapping[str, Any]:
    for row in results["gateway"]:
        if (row["profile"], row["connections"]) == (way, connections):
            return dict(row)
    raise LookupError(f"{way}, {connections} connections")


def _gateway_rate(results: Results) -> Reached:
    through, direct = (_gateway_row(results, way, 64)["tweets_per_s"] for way in ("gateway", "direct"))
    return ratio(through, direct)


def _gateway_latency(results: Results) -> Reached:
    through, direct = (_gateway_row(results, way, 1)["p50_ms"] for way in ("gateway", "direct"))
    return _spread(spread([one - other for one, other in zip(through["values"], direct["values"], strict=True)]), " ms")


def _fairness(results: Results) -> Reached:
    return _spread(results["beside_bulk_job"]["p95_ratio"], "x")


GOALS = (
    Goal(
        "single tweets over REST, 64 connections, against the baseline with whole MiniLM",
        *(60, True, "60x", _single_ratio("baseline_whole")),
    ),
    Goal(
        "tweets in bulk, 64 a request, against that baseline's single ones",
        *(90, True, "90x", _bulk_ratio("baseline_whole")),
    ),
    Goal(
        "the same against the baseline with the served model's own layers: single",
        *(60, True, "60x", _single_ratio("baseline")),
    ),
    Goal("... and in bulk", 90, True, "90x", _bulk_ratio("baseline")),
    Goal("int8 engine, one core, share of the core's int8 limit", 0.6, True, "60 %", _share_of_limit("openvino")),
    Goal(
        "float32 engine, one core, share of the core's float32 limit",
        *(0.7, True, "70 %", _share_of_limit("torchscript")),
    ),
    Goal("p50 of one tweet, unloaded", 6, False, "6 ms", _unloaded("p50_ms")),
    Goal("p99 of one tweet, unloaded", 15, False, "15 ms", _unloaded("p99_ms")),
    Goal("p99 at 70 % of capacity, from the time when each was due", 60, False, "60 ms", _open_loop_p99),
    Goal("p95 of single tweets, 50/s, beside a job of 10,000, against alone", 3, False, "3x", _fairness),
    Goal("gRPC against REST, 64 connections", 0.85, True, "0.85x", _grpc),
    Goal("through the gateway (TLS, key) against directly, 64 connections", 0.8, True, "0.8x", _gateway_rate),
    Goal("what the gateway adds to p50 of one tweet, unloaded", 2, False, "2 ms", _gateway_latency),
    Goal(
        "`torchserve --start` to the first true answer",
        *(8, False, "8 s", lambda results: _spread(results["start_seconds"]["ours"], " s")),
    ),
    Goal(
        "memory of the worker",
        *(450, False, "450 MB", lambda results: _spread(results["memory"]["ours"]["worker_mb"], " MB")),
    ),
    Goal(
        "archive",
        *(80, False, "80 MB", lambda results: Reached(size := results["archive_mb"], f"{number(size)} MB")),
    ),
)


def goal_rows(results: Results) -> list[tuple[Goal, Reached | None]]:
    """Return each goal with what was reached, None where it was not measured."""
    rows: list[tuple[Goal, Reached | None]] = []
    for goal in GOALS:
        try:
            reached = goal.read(results)
            # No request was answered in the time: the figure is null.
            rows.append((goal, None if reached.value is None else reached))
        except (LookupError, TypeError, ZeroDivisionError):
            rows.append((goal, None))
    return rows


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def readme_section(results: Results) -> str:
    """Return what stands between the markers of the README."""
    machine, model = results["machine"], results["model"]
    rows = []
    for goal, reached in goal_rows(results):
        bound = f"{'>=' if goal.at_least else '<='} {goal.shown}"
        verdict = "not measured" if reached is None else "yes" if goal.is_met(reached) else "**no**"
        rows.append([goal.what, bound, "" if reached is None else reached.text, verdict])
    load = ", ".join(str(value) for value in machine["load_average_before"])
    lines = [
        f"Model `{model['version']}`, {model['layers']} layers; {machine['cores']} cores of {machine['processor']}, "
        f"load generator on the same cores (load average before: {load}).",
        f"Tweets {results['tweets']['source']}, no two alike, answer cache off; interleaved repetitions: "
        f"{results.get('repetitions', 0)}, median (lowest to highest).",
        "",
        table(["what", "goal", "measured", "reached"], rows),
        "",
    ]
    if results.get("end_to_end"):
        keys = (
            ("baseline_whole", "single", 64),
            ("baseline", "single", 64),
            ("ours", "single", 64),
            ("ours", "bulk", results["bulk_connections"]),
        )
        whole, baseline, ours, bulk = (number(_rate(results, *key)) for key in keys)
        lines.append(
            f"In tweets/s: baseline with whole MiniLM {whole}, with the served layers {baseline}, ours {ours} one by "
            f"one on 64 connections, ours {bulk} in bulk. A baseline is what TorchServe's example for transformers "
            "does: padded to 150 tokens, eager float32, batches of 32, stock settings. The goals were set against "
            "whole MiniLM (27/s on the machine of that day)."
        )
    lines.append(
        "`make benchmark` measures all of it anew; every figure: [docs/benchmarks](docs/benchmarks/report.md)."
    )
    return "\n".join(lines)


def _rate(results: Results, profile: str, kind: str, connections: int) -> float:
    try:
        return float(row_of(results, profile, kind, connections)["tweets_per_s"]["median"])
    except LookupError:
        return math.nan


def with_section(readme: str, section: str) -> str:
    """Return a README with another text between its markers.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(f"README.md must hold {BEGIN} and then {END}, once each; put the two lines back")
    head, rest = readme.split(BEGIN)
    return f"{head}{BEGIN}\n{section}\n{END}{rest.split(END)[1]}"
