"""The benchmark's loads against a real TorchServe, in the smallest form: that they are answered, not how fast."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from benchmark.engines.tweets import read_tweets
from benchmark.servers.end_to_end import Bodies, Case, closed_loop, open_loop, summarise
from benchmark.servers.profiles import Ports, Profile
from benchmark.servers.server import Server
from tests.serving.torchserve_process import TorchServeProcess

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Bodies:
    tweets = read_tweets(None)
    return Bodies.write(tmp_path_factory.mktemp("bodies"), tweets.distinct[:640], ())


@pytest.fixture(scope="module")
def measured_server(server: TorchServeProcess) -> Server:
    ports = server.ports
    own = Ports(ports.inference, ports.management, ports.metrics, ports.grpc_inference, ports.grpc_management)
    return Server(Profile("ours", server.root, own, 1), server.java, server.temp, time.perf_counter())


@pytest.mark.parametrize("kind", ["single", "bulk", "grpc"])
def test_a_closed_loop_is_answered_without_an_error(measured_server: Server, bodies: Bodies, kind: str) -> None:
    case = Case(kind, 2, 3.0)
    found = closed_loop(measured_server, case, bodies, 0)
    assert found["errors"] == {}
    assert found["tweets_per_s"] > 0
    assert found["worker_cpu_ms_per_tweet"] > 0
    row = summarise("ours", case, [found, found])
    assert row["tweets_per_s"]["low"] == row["tweets_per_s"]["high"]


def test_an_open_loop_is_answered_in_full(measured_server: Server, bodies: Bodies) -> None:
    found = open_loop(measured_server, bodies, rate=5.0, seconds=2.0, seed=1)
    assert found["errors"] == {}
    assert found["unanswered"] == 0
    assert found["answered"] > 0


def test_a_held_server_uses_no_processor_time_and_answers_again_afterwards(
    measured_server: Server, bodies: Bodies
) -> None:
    measured_server.hold()
    try:
        statuses = {psutil.Process(pid).status() for pid in measured_server.worker_pids()}
        before = measured_server.cpu_seconds()
        time.sleep(0.5)
        assert measured_server.cpu_seconds() == before
    finally:
        measured_server.release()
    assert statuses == {psutil.STATUS_STOPPED}
    assert closed_loop(measured_server, Case("single", 1, 2.0), bodies, 0)["errors"] == {}


def test_memory_is_that_of_worker_and_front_end(measured_server: Server, server: TorchServeProcess) -> None:
    found = measured_server.memory()
    assert found["worker_mb"] > 50
    assert found["jvm_mb"] == pytest.approx(server.java.memory_info().rss / 1e6, rel=0.2)
    assert isinstance(server.root, Path)
