"""Load a running server for long at a share of what it can do, and tell whether it stays as it was.

First the capacity is measured (as many requests as answers come, for a few seconds), then requests are sent at a fixed
rate, mixed as people mix them: single tweets, lists, lines, KServe v1, Open Inference v2, gRPC, bad input. Latency
counts from the moment at which a request was due, so that a server that stalls cannot hide behind its own stall.

    disaster-tweets soak --minutes 30
    disaster-tweets soak --minutes 5 --share 0.5 --out reports/soak.json

Ends with 1 when an answer was wrong or missing, when memory, open files or latency grew beyond the limits, or when the
run ended early: the server died, or Ctrl-C. The figures until then are told all the same.
"""

from __future__ import annotations

import argparse
import contextlib
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

from ops.load.traffic import Tally, Target, Traffic, TrafficError
from ops.torchserve.instance import holder

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
    """Take a sample of a front end and its workers.

    Raises:
        TrafficError: the front end has ended.
    """
    worker_bytes = worker_files = 0
    try:
        if not front_end.is_running() or front_end.status() == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(front_end.pid)
        for child in front_end.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # TorchServe starts a dead worker again
                if "python" in child.name():
                    memory, files = child.memory_info().rss, child.num_fds()
                    worker_bytes, worker_files = worker_bytes + memory, worker_files + files
        own_mb, own_files = front_end.memory_info().rss / MEGABYTE, front_end.num_fds()
    except psutil.NoSuchProcess:
        raise TrafficError(f"the server (pid {front_end.pid}) has ended") from None
    except psutil.AccessDenied:
        raise TrafficError(
            f"the server (pid {front_end.pid}) belongs to another user; run the soak as that user"
        ) from None
    return Sample(time.monotonic(), worker_bytes / MEGABYTE, own_mb, worker_files, own_files)


@dataclass(frozen=True)
class Limits:
    """What may grow by how much."""

    worker_growth_mb: float
    files_growth: int
    latency_factor: float


def judge(tally: Tally, samples: Sequence[Sample], limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """Return the figures of a run and what is wrong with it.

    Args:
        tally: what came back.
        samples: in order of time; none where the server ended at once.
        limits: for what is wrong.

    Growth is the median of the last quarter less that of the second: in the first, a server grows into its load.
    """
    quarter = max(1, len(samples) // 4)

    def growth(name: str) -> float:
        values = [getattr(sample, name) for sample in samples] or [0.0]
        second = values[quarter : 2 * quarter] or values
        return float(round(statistics.median(values[-quarter:]) - statistics.median(second), 2))

    later = samples[quarter:] if len(samples) > 4 else samples
    slope = 0.0
    if len(later) > 1 and later[-1].at_s > later[0].at_s:
        slope = statistics.linear_regression(
            [sample.at_s / 60 for sample in later], [sample.worker_mb for sample in later]
        ).slope
    whole = tally.latencies.whole()
    windows = [{"p50_ms": one.percentile_ms(50), "p99_ms": one.percentile_ms(99)} for one in tally.latencies.windows()]
    early_ms = windows[len(windows) // 4]["p50_ms"] if windows else 0.0
    drift = windows[-1]["p50_ms"] / early_ms if early_ms else 1.0
    worker_growth_mb = growth("worker_mb")
    files_growth = {"worker": growth("worker_files"), "front_end": growth("front_end_files")}
    ends = [samples[0], samples[-1]] if samples else []
    figures = {
        "requests": tally.requests,
        "tweets": tally.tweets,
        "kinds": tally.kinds,
        "errors": tally.errors,
        "first_errors": tally.problems,
        "latency_ms": {f"p{share}": whole.percentile_ms(share) for share in (50, 95, 99)},
        "latency_windows": windows,
        "latency_drift": round(drift, 2),
        "worker_rss_mb": [round(sample.worker_mb, 1) for sample in ends],
        "worker_rss_growth_mb": worker_growth_mb,
        "worker_rss_slope_mb_per_minute": round(slope, 3),
        "front_end_rss_mb": [round(sample.front_end_mb, 1) for sample in ends],
        "open_files_growth": files_growth,
    }
    wrong = [] if tally.ended_early is None else [tally.ended_early]
    if tally.problems:
        wrong.append(f"{tally.errors} of {tally.requests} answers were wrong, first: {tally.problems[0]}")
    if worker_growth_mb > limits.worker_growth_mb:
        wrong.append(f"the worker grew by {worker_growth_mb} MB; allowed are {limits.worker_growth_mb}")
    for who, files in files_growth.items():
        if files > limits.files_growth:
            wrong.append(f"the {who} has {files:g} more open files; allowed are {limits.files_growth}")
    if drift > limits.latency_factor:
        wrong.append(f"the median latency grew to {drift:.2f} times; allowed are {limits.latency_factor}")
    return figures, wrong


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
    if capacity <= 0:
        print(f"soak: no answer in {options.calibrate_s:g} s; expected a server that answers", file=sys.stderr)
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
