"""When work on a request is to end: the caller's own deadline, within the time that a batch may take."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass

from tweetclf.errors import InvalidRequestError
from tweetclf.request import TweetRequest

HEADER = "x-deadline-ms"  # Unix time in milliseconds after which the caller no longer waits
# float() also reads 1_0, nan, inf and 1e999.
_MILLISECONDS = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,9})?")


@dataclass(frozen=True)
class TimedRequest:
    """A request, and `time.monotonic()` in seconds after which no work is begun for it."""

    request: TweetRequest
    give_up_at: float


def read_deadline(value: str | None) -> float:
    """Return the caller's deadline as `time.monotonic()` in seconds; infinity when there is none."""
    if value is None:
        return math.inf
    if not _MILLISECONDS.fullmatch(value.strip()):
        raise InvalidRequestError("WRONG_TYPE", f"the header {HEADER} is no number; expected Unix time in milliseconds")
    left_ms = float(value) - time.time() * 1000
    if left_ms < 0:
        raise InvalidRequestError(
            "DEADLINE",
            f"the deadline passed {-left_ms:.0f} ms before the tweet was reached; send it again or allow more",
        )
    return time.monotonic() + left_ms / 1000
