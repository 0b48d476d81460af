"""Try again what may succeed the next time, within one deadline."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from disaster_tweets_client.arguments import check_timeout
from disaster_tweets_client.errors import DeadlineExceededError, ServerUnavailableError

BACK_OFF_BASE_S = 0.1
BACK_OFF_CAP_S = 5.0

Result = TypeVar("Result")


class TransientError(Exception):
    """An attempt that failed in a way that a later one may not; never leaves the package.

    Args:
        reason: what went wrong, for the error that the caller sees if no attempt succeeds.
        retry_after_s: the server asked to wait so long.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Deadline:
    """A point in time by which a call has to be over.

    Raises:
        InvalidArgumentError: `timeout_s` is no number of seconds greater than 0.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = check_timeout(timeout_s)
        self._end_s = time.monotonic() + self.timeout_s

    def remaining_s(self) -> float:
        """Return the seconds left, greater than 0.

        Raises:
            DeadlineExceededError: there are none.
        """
        remaining_s = self._end_s - time.monotonic()
        if remaining_s <= 0:
            raise DeadlineExceededError(f"no answer within {self.timeout_s:g} s; allow more with timeout_s")
        return remaining_s


def call_with_retries(attempt: Callable[[float], Result], retries: int | None, deadline: Deadline) -> Result:
    """Return what `attempt` returns, calling it again while it raises TransientError.

    Waits grow exponentially and are drawn evenly from zero up ("full jitter"), so that clients that
    failed together do not come back together; what the server asks for in Retry-After is added.
    Time is measured by a clock that nobody can set (`time.monotonic`).

    Args:
        attempt: takes the seconds left; must be one that may be made twice, as a prediction is.
        retries: calls after the first; None makes as many as the deadline allows.
        deadline: of all calls and waits together.

    Raises:
        ServerUnavailableError: every attempt failed.
        DeadlineExceededError: the time is over, or would be before the next attempt.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    for number in itertools.count():
        try:
            return attempt(deadline.remaining_s())
        except TransientError as error:
            failure = error
        if retries is not None and number >= retries:
            break
        _wait(number, failure, deadline)
    tried = f"{retries + 1} attempts" if retries else "one attempt"
    raise ServerUnavailableError(f"{failure} (after {tried})") from failure


def _wait(number: int, failure: TransientError, deadline: Deadline) -> None:
    ceiling_s = min(BACK_OFF_CAP_S, BACK_OFF_BASE_S * 2 ** min(number, 16))  # 2**1100 overflows a float
    wait_s = failure.retry_after_s + random.uniform(0, ceiling_s)  # noqa: S311 (spreads load, guards nothing)
    if wait_s >= deadline.remaining_s():
        raise DeadlineExceededError(
            f"{failure}; the next attempt was due in {wait_s:.1f} s, after the deadline of {deadline.timeout_s:g} s"
        ) from failure
    time.sleep(wait_s)


def parse_retry_after(value: str | None, date: str | None = None) -> float:
    """Return the seconds that a Retry-After header asks for; 0 when there is none or it is not readable.

    Args:
        value: the header.
        date: the same answer's Date header. Both are of the server's clock, so that ours, which may be wrong, is asked
            only where the server sent none.

    Source: RFC 9110, section 10.2.3: seconds, or a date; section 6.6.1: Date.
    """
    if value is None:
        return 0.0
    digits = value.strip()
    if digits.isdecimal():
        return float(digits)
    moment_s = _seconds_of(value)
    if moment_s is None:
        return 0.0
    now_s = _seconds_of(date)
    return max(0.0, moment_s - (time.time() if now_s is None else now_s))


def _seconds_of(date: str | None) -> float | None:
    """Return an HTTP date as seconds since the epoch, or None where it is none."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):  # of strings that are no date, some by accident
        return None
