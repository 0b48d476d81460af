"""What a soak makes of its figures, without a server; a short real one is in tests/serving/test_short_soak.py."""

from __future__ import annotations

import pytest

import soak
from soak import Limits, Sample, judge
from soak_traffic import Tally

LIMITS = Limits(worker_growth_mb=30, files_growth=20, latency_factor=2)


def samples(growth_mb: float = 0.0, files: int = 0) -> list[Sample]:
    """Twenty samples a minute apart, growing evenly to a sum."""
    return [
        Sample(60.0 * n, 400 + growth_mb * n / 19, 200, 30 + files * n // 19, 90 + files * n // 19) for n in range(20)
    ]


def tally(late_s: float = 0.01, problems: int = 0) -> Tally:
    """A thousand requests over 100 s; the later half takes `late_s`."""
    found = Tally(tweets=1000)
    found.kinds["REST single"] = 1000
    found.latencies = [(n / 10, 0.01 if n < 500 else late_s) for n in range(1000)]
    found.problems = ["gRPC: no label over gRPC"] * problems
    return found


def test_a_calm_run_has_no_problem() -> None:
    figures, wrong = judge(tally(), samples(), LIMITS)
    assert wrong == []
    assert figures["latency_ms"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}
    assert len(figures["latency_windows"]) == soak.WINDOWS


@pytest.mark.parametrize(
    ("run", "seen", "words"),
    [
        (tally(problems=1), samples(), "1 of 1000 answers were wrong, first: gRPC"),
        (tally(), samples(growth_mb=100), "the worker grew by"),
        (tally(), samples(files=60), "more open files"),
        (tally(late_s=0.05), samples(), "median latency grew to 5.00 times"),
    ],
)
def test_a_run_that_changes_its_server_says_how(run: Tally, seen: list[Sample], words: str) -> None:
    _, wrong = judge(run, seen, LIMITS)
    assert words in " ".join(wrong)


def test_the_slope_is_in_megabytes_a_minute() -> None:
    figures, _ = judge(tally(), samples(growth_mb=19), LIMITS)
    assert figures["worker_rss_slope_mb_per_minute"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "arguments", [["--share", "2"], ["--minutes", "0"], ["--rest-url", "ftp://x"], ["--rest-url", "nonsense"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        soak.main(arguments)
