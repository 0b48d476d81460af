"""Load a running server for long at a share of what it can do, and tell whether it stays as it was.

First the capacity is measured (as many requests as answers come, for a few seconds), then requests are sent at a fixed
rate, mixed as people mix them: single tweets, lists, lines, KServe v1, Open Inference v2, gRPC, bad input. Latency
counts from the moment at which a request was due, so that a server that stalls cannot hide behind its own stall.

    python scripts/soak.py --minutes 30
    python scripts/soak.py --minutes 5 --share 0.5 --out reports/soak.json

Ends with 1 when an answer was wrong or missing, or when memory, open files or latency grew beyond the limits.
"""

from __future__ import annotations

import in_environment  # noqa: F401 (first: it explains what is missing)

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from server_process import holder
from soak_traffic import Tally, Target, Traffic, TrafficError

WINDOWS = 10  # the run is cut into so many for the drift of latency
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Sample:
    """Processes of a server at one moment."""

    at_s: float
    worker_mb: float
    front_end_mb: float
    worker_files: int
    front_end_files: int


def look(front_end: psutil.Process) -> Sample:
    """Take a sample of a front end and its workers."""
    workers = [child for child in front_end.children(recursive=True) if "python" in child.name()]
    return Sample(
        time.monotonic(),
        sum(worker.memory_info().rss for worker in workers) / MEGABYTE,
        front_end.memory_info().rss / MEGABYTE,
        sum(worker.num_fds() for worker in workers),
        front_end.num_fds(),
    )


@dataclass(frozen=True)
class Limits:
    """What may grow by how much."""

    worker_growth_mb: float
    files_growth: int
    latency_factor: float


def judge(tally: Tally, samples: Sequence[Sample], limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """Return the figures of a run and what is wrong with it.

    Growth is the median of the last quarter less that of the second: in the first, a server grows into its load.
    """
    quarter = max(1, len(samples) // 4)

    def growth(name: str) -> float:
        values = [getattr(sample, name) for sample in samples]
        second = values[quarter : 2 * quarter] or values
        return float(round(statistics.median(values[-quarter:]) - statistics.median(second), 2))

    later = samples[quarter:] if len(samples) > 4 else samples
    slope = 0.0
    if len(later) > 1 and later[-1].at_s > later[0].at_s:
        slope = statistics.linear_regression(
            [sample.at_s / 60 for sample in later], [sample.worker_mb for sample in later]
        ).slope
    latencies_ms = sorted(took_s * 1000 for _, took_s in tally.latencies)
    windows = _windows(tally.latencies)
    drift = windows[-1]["p50_ms"] / windows[len(windows) // 4]["p50_ms"] if windows else 1.0
    worker_growth_mb = growth("worker_mb")
    files_growth = {"worker": growth("worker_files"), "front_end": growth("front_end_files")}
    figures = {
        "requests": tally.requests,
        "tweets": tally.tweets,
        "kinds": tally.kinds,
        "errors": len(tally.problems),
        "latency_ms": {f"p{share}": _percentile(latencies_ms, share) for share in (50, 95, 99)},
        "latency_windows": windows,
        "latency_drift": round(drift, 2),
        "worker_rss_mb": [round(samples[0].worker_mb, 1), round(samples[-1].worker_mb, 1)],
        "worker_rss_growth_mb": worker_growth_mb,
        "worker_rss_slope_mb_per_minute": round(slope, 3),
        "front_end_rss_mb": [round(samples[0].front_end_mb, 1), round(samples[-1].front_end_mb, 1)],
        "open_files_growth": files_growth,
    }
    wrong = (
        [f"{len(tally.problems)} of {tally.requests} answers were wrong, first: {tally.problems[0]}"]
        if tally.problems
        else []
    )
    if worker_growth_mb > limits.worker_growth_mb:
        wrong.append(f"the worker grew by {worker_growth_mb} MB; allowed are {limits.worker_growth_mb}")
    for who, files in files_growth.items():
        if files > limits.files_growth:
            wrong.append(f"the {who} has {files:g} more open files; allowed are {limits.files_growth}")
    if drift > limits.latency_factor:
        wrong.append(f"the median latency grew to {drift:.2f} times; allowed are {limits.latency_factor}")
    return figures, wrong


def _windows(latencies: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    if not latencies:
        return []
    first = min(due for due, _ in latencies)
    length = (max(due for due, _ in latencies) - first) / WINDOWS or 1.0
    parts: list[list[float]] = [[] for _ in range(WINDOWS)]
    for due, took_s in latencies:
        parts[min(WINDOWS - 1, int((due - first) / length))].append(took_s * 1000)
    return [
        {"p50_ms": _percentile(sorted(part), 50), "p99_ms": _percentile(sorted(part), 99)} for part in parts if part
    ]


def _percentile(ordered: Sequence[float], share: int) -> float:
    return round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) if ordered else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one soak; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="default: %(default)s")
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity that is measured first")
    parser.add_argument(
        "--calibrate-s", type=float, default=15.0, help="seconds for measuring it (default: %(default)s)"
    )
    parser.add_argument("--rest-url", default="http://127.0.0.1:8080")
    parser.add_argument("--grpc-target", default="127.0.0.1:7070")
    parser.add_argument("--pid", type=int, help="of the front end (Java); default: who listens on the REST port")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--max-worker-growth-mb", type=float, default=30.0, help="default: %(default)s")
    parser.add_argument("--max-files-growth", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--max-latency-factor",
        type=float,
        default=2.0,
        help="median at the end to after the start (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    address = urlsplit(options.rest_url)
    if address.scheme != "http" or not address.hostname or not 0 < options.share <= 1 or not options.minutes > 0:
        parser.error("expected --rest-url http://HOST:PORT, --share in 0..1 and --minutes of more than 0")
    target = Target(address.hostname, address.port or 80, options.grpc_target)
    front_end = psutil.Process(options.pid) if options.pid else holder(target.port)
    if front_end is None:
        print(
            f"soak: nobody listens on {target.port}, or somebody else's program; make serve, or name --pid",
            file=sys.stderr,
        )
        return 1
    traffic = Traffic(target)
    try:
        capacity = traffic.capacity(options.calibrate_s)
    except TrafficError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    rate = capacity * options.share
    print(f"capacity {capacity:.1f} requests/s; {options.minutes:g} minutes at {rate:.1f} requests/s", flush=True)
    samples: list[Sample] = []
    tally = traffic.at_rate(rate, options.minutes * 60, lambda: samples.append(look(front_end)))
    limits = Limits(options.max_worker_growth_mb, options.max_files_growth, options.max_latency_factor)
    figures, wrong = judge(tally, samples, limits)
    figures = {
        "run_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
        "minutes": options.minutes,
        "capacity_rps": round(capacity, 1),
        "rate_rps": round(rate, 1),
        **figures,
        "limits": asdict(limits),
        "problems": wrong,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in figures.items() if key != "latency_windows"}, indent=2))
    for problem in wrong:
        print(f"soak: FAILED: {problem}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
