"""Read JSON with bounds, and name what was found in it."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tweetclf.content import field_name
from tweetclf.errors import InvalidRequestError

# A body of 6.5 MB could hold two million empty lists: seconds of work and 200 MB of memory.
# 10,000 tweets of four fields have 60,000 marks.
MAX_JSON_MARKS = 200_000
_MAX_NUMBER_CHARS = 300  # longer ones are no numbers that anybody could use; Python refuses those of 4,300 digits


@dataclass(frozen=True)
class RepeatedKey:
    """Replaces an object that has a key twice, so that it is not clear which value is meant."""

    key: str


def load_json(text: str) -> Any:
    """Return the value of a JSON text.

    NaN, Infinity and numbers that are too large come back as floats that are not finite: the item that holds one is
    refused, not its whole list. An object with a key twice comes back as a `RepeatedKey`.

    Raises:
        InvalidRequestError: BAD_JSON; TOO_MANY_ITEMS, it has more than MAX_JSON_MARKS values.
    """
    check_marks(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except RecursionError:
        reason = "nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos}"
    raise InvalidRequestError(
        "BAD_JSON", f"the {len(text)} characters are not JSON: {reason}; send valid JSON, or plain text as text/plain"
    )


def check_marks(text: str) -> None:
    """Refuse a JSON text of too many values before it is read.

    Marks inside strings count, too: to count without them would take as long as to read the whole.
    """
    marks = text.count(",") + text.count("[") + text.count("{")
    if marks > MAX_JSON_MARKS:
        raise InvalidRequestError(
            "TOO_MANY_ITEMS",
            f"the JSON has {marks} of the characters , [ and {{; expected at most {MAX_JSON_MARKS}; "
            "split the request into several",
        )


def name_of(value: Any) -> str:
    """Name a value's type as JSON does; the value itself may be a tweet and stays out of messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN, Infinity or a number that is too large"
    if isinstance(value, RepeatedKey):
        return f"an object that has the key {field_name(value.key)} twice"
    names: dict[type, str] = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | RepeatedKey:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    counts = Counter(key for key, _ in pairs)
    return RepeatedKey(counts.most_common(1)[0][0])


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_NUMBER_CHARS else math.inf
