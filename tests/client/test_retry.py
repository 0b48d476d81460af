"""Back-off and deadlines, without a server."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disaster_tweets_client import DeadlineExceededError, ServerUnavailableError, retry
from disaster_tweets_client.retry import Deadline, TransientError, call_with_retries, parse_retry_after


class Attempts:
    """Fails a number of times, then answers."""

    def __init__(self, failures: int, retry_after_s: float = 0.0) -> None:
        self.left_s: list[float] = []
        self._failures = failures
        self._retry_after_s = retry_after_s

    def __call__(self, timeout_s: float) -> str:
        self.left_s.append(timeout_s)
        if len(self.left_s) <= self._failures:
            raise TransientError("overloaded", self._retry_after_s)
        return "answer"


@pytest.fixture
def waits_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that would have been, in the place of waiting."""
    waits: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", waits.append)
    return waits


def test_call_with_retries_when_one_succeeds_returns_its_answer(waits_s: list[float]) -> None:
    attempts = Attempts(2)
    assert call_with_retries(attempts, 2, Deadline(100)) == "answer"
    assert len(waits_s) == 2


def test_call_with_retries_when_none_succeeds_raises_without_a_last_wait(waits_s: list[float]) -> None:
    with pytest.raises(ServerUnavailableError, match=r"^overloaded \(after 3 attempts\)$"):
        call_with_retries(Attempts(9), 2, Deadline(100))
    assert len(waits_s) == 2


def test_call_with_retries_draws_its_waits_evenly_below_a_ceiling_that_doubles(
    waits_s: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: drawn.append((low, high)) or high)
    with pytest.raises(ServerUnavailableError):
        call_with_retries(Attempts(99), 8, Deadline(100))
    assert drawn == [(0, pytest.approx(ceiling)) for ceiling in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)]
    assert waits_s == [high for _, high in drawn]


def test_call_with_retries_when_asked_to_wait_adds_its_jitter_to_that(waits_s: list[float]) -> None:
    call_with_retries(Attempts(1, retry_after_s=2.0), 1, Deadline(100))
    assert 2.0 <= waits_s[0] <= 2.1


def test_call_with_retries_when_the_wait_outlasts_the_deadline_raises_at_once(waits_s: list[float]) -> None:
    with pytest.raises(DeadlineExceededError, match="overloaded; the next attempt was due in 60"):
        call_with_retries(Attempts(1, retry_after_s=60), 1, Deadline(3))
    assert waits_s == []


def test_call_with_retries_without_a_number_tries_until_the_deadline(
    waits_s: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(1200)
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: 0.0)
    assert call_with_retries(attempts, None, Deadline(1000)) == "answer"
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: high)
    with pytest.raises(DeadlineExceededError, match="overloaded; the next attempt was due in"):
        call_with_retries(Attempts(10**6), None, Deadline(3))


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_call_with_retries_does_not_care_when_the_clock_of_the_machine_is_set(
    waits_s: list[float], monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    clock = time.time
    attempts, deadline = Attempts(3), Deadline(50)
    monkeypatch.setattr(retry.time, "time", lambda: clock() + jump_s)
    assert call_with_retries(attempts, 3, deadline) == "answer"
    assert all(0 <= wait_s <= 0.4 for wait_s in waits_s)
    assert 40 < attempts.left_s[-1] <= 50


def test_call_with_retries_tells_each_attempt_what_is_left() -> None:
    attempts = Attempts(1, retry_after_s=0.05)
    call_with_retries(attempts, 1, Deadline(10))
    assert attempts.left_s[0] <= 10
    assert attempts.left_s[1] <= attempts.left_s[0] - 0.05


def test_call_with_retries_when_the_deadline_is_over_makes_no_attempt() -> None:
    attempts, deadline = Attempts(0), Deadline(0.01)
    time.sleep(0.02)
    with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.01 s"):
        call_with_retries(attempts, 1, deadline)
    assert attempts.left_s == []


# "7\x1f" was found by drawing: str.strip takes off what float does not.
@pytest.mark.parametrize(
    ("value", "seconds"), [(None, 0), ("7", 7), (" 7 ", 7), ("7\x1f", 7), ("soon", 0), ("-3", 0), ("", 0)]
)
def test_parse_retry_after_reads_seconds_and_nothing_else(value: str | None, seconds: float) -> None:
    assert parse_retry_after(value) == seconds


def test_parse_retry_after_measures_a_date_by_the_clock_of_the_server() -> None:
    an_hour_slow = time.time() - 3600
    value, date = formatdate(an_hour_slow + 7, usegmt=True), formatdate(an_hour_slow, usegmt=True)
    assert parse_retry_after(value, date) == 7
    assert parse_retry_after(value, "no date") == 0


@settings(deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"\w{3}, \d{1,20} Jan \d{1,20} \d\d:\d\d:\d\d [+-]\d{1,20}")), st.text())
def test_parse_retry_after_never_fails(value: str, date: str) -> None:
    assert parse_retry_after(value, date) >= 0


def test_parse_retry_after_reads_a_date() -> None:
    assert 58 <= parse_retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert parse_retry_after(formatdate(time.time() - 60, usegmt=True)) == 0
