"""Loads on running servers: closed loops, open loops, single requests beside a bulk job."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from benchmark.figures import latencies, rounded, spread
from benchmark.servers.load_generator import DRAIN_S, Load, Measured
from benchmark.servers.server import Server

GENERATOR = "benchmark.servers.load_generator"
JSON_TYPE = "application/json"
BULK = 64
JOB_ITEMS = 10_000
SINGLES_PER_S = 50.0  # beside a bulk job: a small part of what the server can do


class LoadError(RuntimeError):
    """The load generator failed; the message holds what it said."""


@dataclass(frozen=True)
class Bodies:
    """Files of request bodies, JSON lists of strings.

    Args:
        single: one tweet each, plain text.
        bulk: `BULK` tweets each, JSON.
        job: one body of as many tweets as there are, at most `JOB_ITEMS`.
        job_items: how many those are.
        stream: single tweets in the order of a crisis, or None.
    """

    single: Path
    bulk: Path
    job: Path
    job_items: int
    stream: Path | None

    @classmethod
    def write(cls, folder: Path, distinct: Sequence[str], stream: Sequence[str]) -> Bodies:
        """Write them under a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        count = len(distinct) - len(distinct) % BULK
        bulk = [json.dumps(distinct[start : start + BULK]) for start in range(0, count, BULK)]
        job = distinct[:JOB_ITEMS]
        contents = {"single": distinct, "bulk": bulk, "job": [json.dumps(job)], "stream": stream}
        for name, bodies in contents.items():
            (folder / f"{name}.json").write_text(json.dumps(list(bodies)), encoding="utf-8")
        single, many, one, crisis = (folder / f"{name}.json" for name in contents)
        return cls(single, many, one, len(job), crisis if stream else None)


class Entrance(Protocol):
    """A gateway before the server, as a loop through it needs it."""

    @property
    def load(self) -> Mapping[str, Any]:
        """Return the fields of a `Load` that lead through it."""
        ...

    def cpu_seconds(self) -> float:
        """Return the processor time that it used so far."""
        ...


@dataclass(frozen=True)
class Case:
    """One kind of load in a closed loop.

    Args:
        kind: `single`, `bulk`, `grpc` or `stream`.
        connections: open at once.
        seconds: measured.
    """

    kind: str
    connections: int
    seconds: float

    def load(self, server: Server, bodies: Bodies, first: int) -> Load:
        """Return what the generator has to send."""
        ports = server.profile.ports
        grpc = self.kind == "grpc"
        bulk = self.kind == "bulk"
        files = {"bulk": bodies.bulk, "stream": bodies.stream or bodies.single}
        return Load(
            port=ports.grpc_inference if grpc else ports.inference,
            bodies_file=str(files.get(self.kind, bodies.single)),
            protocol="grpc" if grpc else "http",
            content_type=JSON_TYPE if bulk else "",
            connections=self.connections,
            seconds=self.seconds,
            answers=BULK if bulk else 1,
            first=first,
        )


def measure(load: Load) -> Measured:
    """Run a load in a process of its own.

    Raises:
        LoadError: the generator failed.
    """
    result = subprocess.run(
        [sys.executable, "-m", GENERATOR],
        input=json.dumps(asdict(load)),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=load.warm_up_s + load.seconds + 2 * DRAIN_S + 30,
        check=False,
    )
    if result.returncode != 0:
        raise LoadError(f"the load generator failed: {result.stderr.strip()[-800:]}")
    return Measured(**json.loads(result.stdout))


def closed_loop(
    server: Server, case: Case, bodies: Bodies, first: int, through: Entrance | None = None
) -> dict[str, Any]:
    """Return the figures of one closed loop.

    Args:
        server: is idle.
        case: what to send.
        bodies: where it lies.
        first: index of the first body, so that repetitions do not send the same.
        through: a gateway before the server; None goes to the server itself.
    """
    load = replace(case.load(server, bodies, first), **(through.load if through else {}))
    before, gateway_before_s = server.cpu_seconds(), through.cpu_seconds() if through else 0.0
    found = measure(load)
    after, gateway_after_s = server.cpu_seconds(), through.cpu_seconds() if through else 0.0
    each = BULK if case.kind == "bulk" else 1
    tweets = max(1, found.sent * each)  # processor time is of all that was sent, warm-up and drain included
    return {
        "tweets_per_s": len(found.latencies_ms) * each / found.seconds,
        **latencies(found.latencies_ms),
        "errors": found.errors,
        "front_end_cpu_ms_per_tweet": (after[0] - before[0]) * 1000 / tweets,
        "worker_cpu_ms_per_tweet": (after[1] - before[1]) * 1000 / tweets,
        **({"gateway_cpu_ms_per_tweet": (gateway_after_s - gateway_before_s) * 1000 / tweets} if through else {}),
        "generator_cpu_share_of_a_core": found.generator_cpu_s / (load.warm_up_s + load.seconds),
    }


def summarise(profile: str, case: Case, repetitions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one row of the report from the repetitions of one case."""
    figures = [name for name in repetitions[0] if name != "errors"]
    errors: dict[str, int] = {}
    for repetition in repetitions:
        for reason, number in repetition["errors"].items():
            errors[reason] = errors.get(reason, 0) + number
    return {
        "profile": profile,
        "kind": case.kind,
        "connections": case.connections,
        **{name: spread([repetition[name] for repetition in repetitions]) for name in figures},
        "errors": errors,
    }


def open_loop(server: Server, bodies: Bodies, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Return the latencies of single requests at a fixed rate, from the times at which they were due."""
    load = Load(
        port=server.profile.ports.inference,
        bodies_file=str(bodies.single),
        connections=256,
        seconds=seconds,
        rate=rate,
        first=seed * 997,
        seed=seed,
    )
    found = measure(load)
    return {
        "offered_per_s": rounded(rate),
        "answered": len(found.latencies_ms),
        "unanswered": found.unanswered,
        **latencies(found.latencies_ms),
        "errors": found.errors,
    }


def beside_bulk_job(server: Server, bodies: Bodies, tweets_per_s: float) -> dict[str, Any]:
    """Return the latency of single requests at a low fixed rate, alone and while a job of thousands runs.

    At a fixed rate, since on one connection a single request that waits for the job would be all that is sent.

    Args:
        server: is idle.
        bodies: where the job lies.
        tweets_per_s: what the server does in bulk, about; decides how long the single requests go on.

    Raises:
        LoadError: the job was not answered right, or no single request went beside it.
    """
    seconds = min(60.0, 2.0 + 3.0 * bodies.job_items / max(tweets_per_s, 1.0))
    single = replace(Case("single", 256, seconds).load(server, bodies, 0), rate=SINGLES_PER_S)
    alone = measure(replace(single, seconds=4.0))
    job = replace(
        single,
        rate=0.0,
        connections=1,
        bodies_file=str(bodies.job),
        content_type=JSON_TYPE,
        count=1,
        answers=bodies.job_items,
        seconds=120.0,
        warm_up_s=0.0,
    )
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(measure, single)
        time.sleep(1.5)  # the single requests are under way
        done = measure(job)
        beside = pending.result()
    if done.errors or not done.latencies_ms:
        raise LoadError(f"the bulk job was not answered right: {done.errors}")
    ends = done.finished_s[0]
    begins = ends - done.latencies_ms[0] / 1000
    during = [
        latency
        for latency, end in zip(beside.latencies_ms, beside.finished_s, strict=True)
        if begins <= end - latency / 1000 <= ends
    ]
    if not during:
        raise LoadError("no single request was answered while the bulk job ran")
    return {
        "job_items": bodies.job_items,
        "job_seconds": rounded(done.latencies_ms[0] / 1000),
        "alone": {"n": len(alone.latencies_ms), **latencies(alone.latencies_ms)},
        "beside": {"n": len(during), **latencies(during)},
    }
