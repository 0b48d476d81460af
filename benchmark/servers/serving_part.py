"""All measurements through TorchServe, in an order in which what is compared lies close together in time."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmark.figures import rounded, spread
from benchmark.servers.end_to_end import (
    Bodies,
    Case,
    LoadError,
    beside_bulk_job,
    closed_loop,
    measure,
    open_loop,
    summarise,
)
from benchmark.servers.profiles import NO_CACHE, Changes, Profile, baseline_profile, our_profile
from benchmark.servers.server import Server, running

BASELINE, BASELINE_WHOLE, OURS, CACHED = "baseline", "baseline_whole", "ours", "ours_cache"
SHARES = (0.5, 0.7, 0.9)
SETTLE_S = 0.3
REPETITIONS_END_AT = 0.6  # of the time allowed; the rest is for open loops, bulk job and starts


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Args:
        cases: profile -> closed loops, in order.
        warm_up_s: of each server after its start, at 64 connections, for each way in that it is measured on.
        open_s: seconds of one open loop.
        opens: repetitions of the open loops and of the bulk job.
        starts: of the server as shipped, for the time of a start.
    """

    cases: Mapping[str, Sequence[Case]]
    warm_up_s: float
    open_s: float
    opens: int
    starts: int


FULL = Plan(
    cases={
        # The baseline answers in bursts of 32 a second or so apart: its loops are longer.
        BASELINE: [Case("single", 1, 3), Case("single", 8, 4), Case("single", 64, 8), Case("single", 256, 8)],
        BASELINE_WHOLE: [Case("single", 64, 10)],
        OURS: [
            *(Case("single", connections, 3) for connections in (1, 8, 64, 256)),
            *(Case("bulk", connections, 3) for connections in (1, 8, 64, 256)),
            *(Case("grpc", 64, 3), Case("stream", 64, 1.5)),
        ],
        CACHED: [Case("stream", 64, 1.5)],
    },
    warm_up_s=12.0,
    open_s=8.0,
    opens=3,
    starts=3,
)
QUICK = Plan(
    cases={
        BASELINE: [Case("single", 1, 1), Case("single", 64, 3)],
        OURS: [Case("single", 1, 1), Case("single", 64, 1), Case("bulk", 8, 1), Case("grpc", 64, 1)],
    },
    warm_up_s=1.0,
    open_s=1.5,
    opens=1,
    starts=1,
)


def measure_servers(
    project: Path, work: Path, weights: Mapping[str, Path], bodies: Bodies, plan: Plan, repetitions: int, seconds: float
) -> dict[str, Any]:
    """Run the plan and return the parts of the results that it fills.

    Args:
        project: the checkout with a built archive.
        work: for the servers' folders.
        weights: of each baseline, as transformers reads them.
        bodies: what is sent.
        plan: what to measure.
        repetitions: of all closed loops.
        seconds: allowed in all; no repetition begins after `REPETITIONS_END_AT` of it.
    """
    began = time.monotonic()
    profiles = {
        BASELINE: lambda: baseline_profile(BASELINE, work / BASELINE, weights[BASELINE]),
        BASELINE_WHOLE: lambda: baseline_profile(BASELINE_WHOLE, work / BASELINE_WHOLE, weights[BASELINE_WHOLE]),
        OURS: lambda: our_profile(OURS, project, work / OURS, NO_CACHE),
        CACHED: lambda: our_profile(CACHED, project, work / CACHED, Changes()),
    }
    results: dict[str, Any] = {"warm_up_s": plan.warm_up_s}
    with contextlib.ExitStack() as stack, _progress(plan, repetitions) as bar:
        servers = {}
        for name in plan.cases:
            bar.set_description(f"starting {name}")
            servers[name] = stack.enter_context(running(profiles[name]()))
            for kind in dict.fromkeys("grpc" if case.kind == "grpc" else "single" for case in plan.cases[name]):
                _warm_up(servers[name], kind, bodies, plan.warm_up_s)
            servers[name].hold()
        deadline = began + REPETITIONS_END_AT * seconds
        results["end_to_end"], results["repetitions"] = _closed(servers, plan, bodies, repetitions, deadline, bar)
        bulk = [row for row in results["end_to_end"] if row["profile"] == OURS and row["kind"] == "bulk"]
        best_bulk = max(bulk, key=lambda row: row["tweets_per_s"]["median"])
        results["bulk_connections"] = best_bulk["connections"]
        with _released(servers[OURS]) as ours:
            capacity = _capacity(results["end_to_end"])
            results["open_loop"] = _open(ours, plan, bodies, capacity, bar)
            results["beside_bulk_job"] = _beside(ours, plan, bodies, best_bulk["tweets_per_s"]["median"], bar)
        started = {name: [server.start_seconds] for name, server in servers.items() if name != OURS}
        memories = {name: [server.memory()] for name, server in servers.items() if name != CACHED}
    started[OURS] = _starts(our_profile(OURS, project, work / "start", Changes()), plan.starts)
    results["start_seconds"] = {name: spread(values) for name, values in started.items() if name != CACHED}
    results["memory"] = {
        name: {figure: spread([found[figure] for found in values]) for figure in values[0]}
        for name, values in memories.items()
    }
    return results


def _progress(plan: Plan, repetitions: int) -> Any:
    loops = sum(map(len, plan.cases.values())) * repetitions
    return tqdm(total=loops + (len(SHARES) + 1) * plan.opens, disable=None, unit="loop")


@contextlib.contextmanager
def _released(server: Server) -> Iterator[Server]:
    """Let a held server run for a while."""
    server.release()
    time.sleep(SETTLE_S)
    try:
        yield server
    finally:
        server.hold()


def _warm_up(server: Server, kind: str, bodies: Bodies, seconds: float) -> None:
    """Let the front end compile its code, which takes Java some 20,000 calls; what is answered is not counted."""
    measure(Case(kind, 64, seconds).load(server, bodies, 0))


def _closed(
    servers: Mapping[str, Server], plan: Plan, bodies: Bodies, repetitions: int, deadline: float, bar: Any
) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of all closed loops, and how many repetitions there was time for."""
    found: dict[tuple[str, Case], list[dict[str, Any]]] = {}
    done = 0
    for number in range(repetitions):
        if number and time.monotonic() > deadline:
            break
        for name, cases in plan.cases.items():
            with _released(servers[name]) as server:
                for case in cases:
                    if case.kind == "stream" and bodies.stream is None:
                        continue
                    bar.set_description(f"{name} {case.kind} {case.connections}")
                    # Repetitions take other tweets; of a stream other parts, or the cache would know them.
                    first = number * (8_000 if case.kind == "stream" else 1_009)
                    found.setdefault((name, case), []).append(closed_loop(server, case, bodies, first))
                    bar.update()
        done = number + 1
    return [summarise(name, case, values) for (name, case), values in found.items()], done


def _capacity(rows: Sequence[Mapping[str, Any]]) -> float:
    singles = [row for row in rows if row["profile"] == OURS and row["kind"] == "single"]
    capacity: float = max(row["tweets_per_s"]["median"] for row in singles)
    if capacity <= 0:
        raise LoadError(f"no single tweet was answered right: {singles[-1]['errors']}")
    return capacity


def _open(server: Server, plan: Plan, bodies: Bodies, capacity: float, bar: Any) -> list[dict[str, Any]]:
    found: dict[float, list[dict[str, Any]]] = {}
    for number in range(plan.opens):
        for share in SHARES:
            bar.set_description(f"{share:.0%} of capacity")
            found.setdefault(share, []).append(open_loop(server, bodies, share * capacity, plan.open_s, number))
            bar.update()
    figures = ("offered_per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms")
    return [
        {
            "share_of_capacity": share,
            **{name: spread([value[name] for value in values]) for name in figures},
            "answered": sum(value["answered"] for value in values),
            "unanswered": sum(value["unanswered"] for value in values),
            "errors": {reason: count for value in values for reason, count in value["errors"].items()},
        }
        for share, values in found.items()
    ]


def _beside(server: Server, plan: Plan, bodies: Bodies, tweets_per_s: float, bar: Any) -> dict[str, Any]:
    found = []
    for _ in range(plan.opens):
        bar.set_description("beside a bulk job")
        try:
            found.append(beside_bulk_job(server, bodies, tweets_per_s))
        except LoadError as error:  # on a starved machine the job runs into its own time limit; the rest still counts
            print(f"left out: {error}", file=sys.stderr)
        bar.update()
    if not found:
        return {}
    parts = {
        part: {name: spread([value[part][name] for value in found]) for name in found[0][part]}
        for part in ("alone", "beside")
    }
    return {
        "job_items": found[0]["job_items"],
        "job_seconds": spread([value["job_seconds"] for value in found]),
        **parts,
        "p95_ratio": spread([rounded(value["beside"]["p95_ms"] / value["alone"]["p95_ms"]) for value in found]),
    }


def _starts(profile: Profile, count: int) -> list[float]:
    """Return the seconds from `torchserve --start` to the first true answer, of the archive as it is."""
    found = []
    for _ in range(count):
        with running(profile) as server:
            found.append(server.start_seconds)
    return found
