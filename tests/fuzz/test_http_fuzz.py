"""Requests drawn at random, in batches with good ones, against a real TorchServe.

Promised: no answer of 5xx but the two documented ones, no worker lost, no neighbour's answer changed, memory flat.
FUZZ_REQUESTS says how many are drawn (`make fuzz` draws 20,000).
"""

from __future__ import annotations

import collections
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.drawn_requests import REQUESTS, DrawnRequest
from tests.fuzz.http_exchange import Reply, exchange, problem_with
from tests.fuzz.neighbours import Neighbours
from tests.fuzz.server_health import MEGABYTE, HealthWatch
from tests.run_record import write_record
from tests.serving.torchserve_process import TorchServeProcess

pytestmark = pytest.mark.serving

NUM_REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "1200"))
BATCH = 10  # drawn requests sent at once
COMPANY = 4  # good ones among them
# What a worker may still grow by after the first quarter of a run: the allocator's noise was seen to be below it.
GROWTH_LIMIT_BYTES = 40 * MEGABYTE


class Run:
    """What was sent and what came back, of one test."""

    def __init__(self, server: TorchServeProcess) -> None:
        self.port = server.ports.inference
        self.neighbours = Neighbours(self.port)
        self.health = HealthWatch(server)
        self.sent = 0
        self.kinds: collections.Counter[str] = collections.Counter()
        self.statuses: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []

    def batch(self, pool: ThreadPoolExecutor, drawn: list[DrawnRequest], first_neighbour: int) -> list[str]:
        """Send drawn requests and neighbours at once; return what went wrong."""
        company = [
            self.neighbours.requests[(first_neighbour + index) % len(self.neighbours.requests)]
            for index in range(COMPANY)
        ]
        replies = pool.map(lambda request: exchange(self.port, request), [*drawn, *company])
        problems = []
        for request, reply in zip([*drawn, *company], replies, strict=True):
            if request.kind == "neighbour":
                problem = self.neighbours.problem_with(request, reply)
            else:
                problem = problem_with(request, reply)
                self._count(request, reply)
            if problem is not None:
                problems.append(f"{problem} to {request!r:.600}")
        if self.sent // 200 > (self.sent - len(drawn)) // 200:
            self.health.look(self.sent)
        return problems

    def _count(self, request: DrawnRequest, reply: Reply) -> None:
        self.sent += 1
        self.kinds[request.kind] += 1
        self.statuses[str(reply.status) if reply.status else "closed or waiting"] += 1


def test_drawn_requests_among_good_ones_cost_nobody_anything(fuzzed_server: TorchServeProcess) -> None:
    run = Run(fuzzed_server)
    run.health.look(0)
    started = time.monotonic()
    with ThreadPoolExecutor(BATCH + COMPANY) as pool:

        @settings(
            max_examples=-(-NUM_REQUESTS // BATCH),
            deadline=None,
            database=None,
            phases=[Phase.generate],  # a batch that fails is printed whole; sending it again would not shrink it
            suppress_health_check=list(HealthCheck),
            derandomize="FUZZ_REQUESTS" not in os.environ,  # the suite draws the same every time, `make fuzz` anew
        )
        @given(st.lists(REQUESTS, min_size=BATCH, max_size=BATCH), st.integers(0, 999))
        def send(drawn: list[DrawnRequest], first_neighbour: int) -> None:
            run.problems += run.batch(pool, drawn, first_neighbour)

        send()
    run.health.look(run.sent)
    write_record(
        "fuzz_http",
        {
            "requests": run.sent,
            "kinds": dict(run.kinds.most_common()),
            "statuses": dict(sorted(run.statuses.items())),
            "problems": len(run.problems),
            "neighbours": asdict(run.neighbours.count),
            "seconds": round(time.monotonic() - started, 1),
            **run.health.facts(),
        },
    )
    assert not run.problems, "\n".join(run.problems[:10])
    assert run.sent >= NUM_REQUESTS
    assert run.health.restarts == 0
    assert run.health.worker_growth_bytes() < GROWTH_LIMIT_BYTES
