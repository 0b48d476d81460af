"""What a soak makes of its figures, and how it ends; with a TorchServe: tests/serving/test_short_soak.py."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ops.load import soak
from ops.load import traffic as soak_traffic
from ops.load.latency import BUCKETS, WINDOWS, Histogram, Latencies
from ops.load.soak import Limits, Sample, judge, look
from ops.load.traffic import KEPT_PROBLEMS, KINDS, THREAD_NAME, Tally, Target, Traffic, TrafficError
from tests.client.stub_server import Scripted, StubServer
from tests.conftest import ROOT

LIMITS = Limits(worker_growth_mb=30, files_growth=20, latency_factor=2)


def samples(growth_mb: float = 0.0, files: int = 0) -> list[Sample]:
    """Twenty samples a minute apart, growing evenly to a sum."""
    return [
        Sample(60.0 * n, 400 + growth_mb * n / 19, 200, 30 + files * n // 19, 90 + files * n // 19) for n in range(20)
    ]


def tally(late_s: float = 0.01, problems: int = 0, ended_early: str | None = None) -> Tally:
    """A thousand requests over 100 s; the later half takes `late_s`."""
    found = Tally(100.0, ended_early=ended_early)
    for n in range(1000):
        problem = "no label over gRPC" if n < problems else None
        found.note(KINDS[0], 1, n / 10, 0.01 if n < 500 else late_s, problem)
    return found


def test_a_calm_run_has_no_problem() -> None:
    figures, wrong = judge(tally(), samples(), LIMITS)
    assert wrong == []
    assert figures["latency_ms"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}
    assert len(figures["latency_windows"]) == WINDOWS


@pytest.mark.parametrize(
    ("run", "seen", "words"),
    [
        (tally(problems=1), samples(), "1 of 1000 answers were wrong, first: REST single: no label"),
        (tally(), samples(growth_mb=100), "the worker grew by"),
        (tally(), samples(files=60), "more open files"),
        (tally(late_s=0.05), samples(), "median latency grew to 5.00 times"),
        (tally(ended_early="the server has ended"), samples(), "the server has ended"),
        (Tally(60.0, ended_early="the server has ended"), [], "the server has ended"),
    ],
)
def test_a_run_that_changes_its_server_says_how(run: Tally, seen: list[Sample], words: str) -> None:
    figures, wrong = judge(run, seen, LIMITS)
    assert words in " ".join(wrong)
    json.dumps(figures, allow_nan=False)


def test_the_slope_is_in_megabytes_a_minute() -> None:
    figures, _ = judge(tally(), samples(growth_mb=19), LIMITS)
    assert figures["worker_rss_slope_mb_per_minute"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "arguments", [["--share", "2"], ["--minutes", "0"], ["--rest-url", "ftp://x"], ["--rest-url", "nonsense"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        soak.main(arguments)


def test_percentiles_when_compared_with_sorted_values_then_within_a_bucket() -> None:
    values = [1.7**n * 0.03 for n in range(-3, 40)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for share in (0, 10, 50, 95, 99):
        exact = sorted(values)[min(len(values) - 1, len(values) * share // 100)]
        assert histogram.percentile_ms(share) == pytest.approx(exact, rel=0.02, abs=0.05)
    assert Histogram().percentile_ms(50) == 0.0


def test_latencies_when_there_are_very_many_then_take_no_more_memory() -> None:
    kept = Latencies(10.0)
    for number in range(20_000):
        kept.add(number % 12 - 1, number * 1e-4)
    kept.add(5, 1e12)
    assert kept.whole().total == 20_001
    assert all(len(one.counts) == BUCKETS for one in kept.windows())
    assert sum(one.total for one in kept.windows()) == 20_001


def test_problems_when_all_answers_are_wrong_then_only_the_first_are_kept() -> None:
    run = tally(problems=1000)
    assert (run.errors, len(run.problems)) == (1000, KEPT_PROBLEMS)


class NoConnections:
    """Stands for the connections of a thread: no request is sent."""

    def __init__(self, target: Target) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    monkeypatch.setattr(soak_traffic, "Connections", NoConnections)
    monkeypatch.setattr(soak_traffic, "one_request", lambda *_: None)
    monkeypatch.setattr(soak_traffic, "SAMPLE_EVERY_S", 0.0)
    return Traffic(Target("127.0.0.1", 1, "127.0.0.1:2"))


def third_time(error: BaseException) -> Callable[[], None]:
    calls = iter(range(10**6))

    def watch() -> None:
        if next(calls) == 2:
            raise error

    return watch


@pytest.mark.parametrize(
    ("error", "words"),
    [(TrafficError("the server has ended"), "the server has ended (after"), (KeyboardInterrupt(), "interrupted after")],
)
def test_at_rate_when_it_ends_early_then_no_thread_is_left_and_the_tally_says_why(
    traffic: Traffic, error: BaseException, words: str
) -> None:
    found = traffic.at_rate(200, 100, third_time(error))
    assert THREAD_NAME not in [thread.name for thread in threading.enumerate()]
    assert words in (found.ended_early or "")


def test_at_rate_when_something_unforeseen_is_raised_then_no_thread_is_left(traffic: Traffic) -> None:
    with pytest.raises(RuntimeError):
        traffic.at_rate(200, 100, third_time(RuntimeError("unforeseen")))
    assert THREAD_NAME not in [thread.name for thread in threading.enumerate()]


def test_at_rate_when_it_ends_in_time_then_every_request_is_counted(traffic: Traffic) -> None:
    found = traffic.at_rate(100, 0.2, lambda: None)
    assert (found.requests, found.ended_early) == (20, None)


def test_at_rate_when_the_server_answers_nothing_then_ends_and_does_not_collect_requests(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(soak_traffic, "one_request", lambda *_: answer.wait(60) and None)
    monkeypatch.setattr(soak_traffic, "REQUEST_TIMEOUT_S", 0.05)
    monkeypatch.setattr(soak_traffic, "STOPPING_S", 0.0)
    found = traffic.at_rate(2000, 3600, lambda: None)
    answer.set()
    assert "s of requests behind" in (found.ended_early or "")


def test_one_request_when_the_answer_has_another_form_then_it_is_wrong_and_nothing_is_raised() -> None:
    with StubServer(always=Scripted(200, b"[1]")) as stub:
        connections = soak_traffic.Connections(Target("127.0.0.1", int(stub.rest_url.rpartition(":")[2]), "x:1"))
        problems = [soak_traffic.one_request(connections, kind, ["one"]) for kind in KINDS[:5]]
        connections.close()
    assert all(problems)


def test_look_when_the_front_end_is_dead_or_a_zombie_then_says_that_it_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watched = psutil.Process(process.pid)
    assert look(watched).front_end_mb > 0
    process.kill()
    while watched.status() != psutil.STATUS_ZOMBIE:
        pass
    with pytest.raises(TrafficError, match="has ended"):
        look(watched)
    process.communicate()
    with pytest.raises(TrafficError, match="has ended"):
        look(watched)


# As `disaster-tweets soak`, with JSON lists only, which the stub knows.
DRIVER = """
import sys
from ops import cli
from ops.load import traffic as soak_traffic
soak_traffic.KINDS, soak_traffic.THREADS = soak_traffic.KINDS[1:2], 4
sys.exit(cli.main(["soak", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_soak_when_it_is_interrupted_then_tells_its_figures_and_ends(end: signal.Signals, tmp_path: Path) -> None:
    with StubServer() as stub:
        command = [sys.executable, "-c", DRIVER, "--pid", str(psutil.Process().pid)]
        command += ["--rest-url", stub.rest_url, "--grpc-target", stub.grpc_target, "--out", str(tmp_path / "out.json")]
        command += ["--calibrate-s", "0.3", "--share", "0.1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        told, before = process.stdout.readline(), len(stub.received)
        while process.poll() is None and len(stub.received) == before:  # until the run itself has begun
            time.sleep(0.01)
        process.send_signal(end)
        _, errors = process.communicate(timeout=60)
    assert "capacity" in told, errors
    assert process.returncode == 1
    assert "soak: FAILED: interrupted after" in errors
    (problem,) = json.loads((tmp_path / "out.json").read_text())["problems"]
    assert "of 1800 s" in problem
