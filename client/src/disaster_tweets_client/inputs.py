"""What a caller may give to `predict`, and how it goes over the wire.

Tables and arrays are recognised by what they have, not by their class: the client imports neither pandas nor numpy.
"""

from __future__ import annotations

import array
import collections
import json
import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

from disaster_tweets_client.errors import InvalidArgumentError, ItemError

Tweet = str | Mapping[str, Any]
"""A text, or a mapping with "text" and, if wanted, "id", "keyword" and "location"."""

_MISSING = object()
_NOT_ITERATED = (bytes, bytearray, memoryview, array.array, collections.UserString)  # their items are no tweets


def check_tweets(tweets: object) -> None:
    """Refuse what can be iterated over, but would give something else than the tweets in their order.

    Raises:
        InvalidArgumentError: says what to give in its place.
    """
    kind = type(tweets).__name__
    if isinstance(tweets, str | Mapping):
        return
    if isinstance(tweets, _NOT_ITERATED) or not isinstance(tweets, Iterable):
        raise InvalidArgumentError(
            f"tweets is {kind}; expected a text, a mapping with 'text', or several of those (bytes: decode them first)"
        )
    if hasattr(tweets, "columns"):
        raise InvalidArgumentError(
            f"tweets is {kind}, a table, of which only the names of its columns would be read; expected its texts, "
            'such as frame["text"], or its rows: frame.to_dict("records") (pandas), frame.to_dicts() (polars)'
        )
    if isinstance(tweets, Set) and not isinstance(tweets, collections.abc.MappingView):
        raise InvalidArgumentError(f"tweets is {kind}, which has no order that answers could keep; expected a list")
    if getattr(tweets, "ndim", 1) != 1:
        raise InvalidArgumentError(
            f"tweets is {kind} of {tweets.ndim} dimensions; expected one dimension, such as array.ravel()"  # type: ignore[attr-defined]
        )
    if _is_row(tweets):
        raise InvalidArgumentError(
            f"tweets is {kind}, one row of a table, of which each field would be a tweet; expected row.to_dict()"
        )


def encode_tweet(tweet: Tweet) -> bytes:
    """Return a tweet as compact JSON in ASCII, so that a lone surrogate reaches the server unharmed.

    Scalars of numpy become those of Python. A missing value of pandas (None, NaN, NaT, NA) is left out like a field
    that is not there; a missing text is an error.

    Raises:
        ItemError: it is neither text nor a mapping that JSON can carry; says which field and of what type.
    """
    if isinstance(tweet, str):
        return json.dumps(tweet).encode("ascii")
    if not isinstance(tweet, Mapping):
        found = "a missing value (NaN)" if _plain(tweet) is _MISSING else f"of type {type(tweet).__name__}"
        hint = "; send row.to_dict()" if _is_row(tweet) else ""
        raise ItemError("WRONG_TYPE", f'the item is {found}; expected str or a mapping with "text"{hint}')
    plain = {name: _plain(value) for name, value in tweet.items()}
    mark = plain.get("id")
    if not isinstance(mark, str | int | float):
        mark = None
    if plain.get("text", "") is _MISSING and tweet["text"] is not None:  # None is null, and the server's to refuse
        raise ItemError("WRONG_TYPE", "'text' is a missing value (NaN); expected the tweet as a string", id=mark)
    fields = {name: None if name == "text" and value is _MISSING else value for name, value in plain.items()}
    fields = {name: value for name, value in fields.items() if value is not _MISSING}
    try:
        return _dump(fields)
    except (TypeError, ValueError, RecursionError):
        raise ItemError("WRONG_TYPE", _unwritable(fields), id=mark) from None


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _unwritable(fields: Mapping[Any, Any]) -> str:
    """Say which field JSON cannot carry; the value itself may be private."""
    for name, value in fields.items():
        try:
            _dump(value)
        except (TypeError, ValueError, RecursionError):
            infinite = isinstance(value, float)
            found = "infinite" if infinite else f"of type {type(value).__name__}, which JSON cannot carry as it is"
            return f"{name!r} is {found}; expected a string or a number, or leave it out"
    return "a name of a field is no string; expected names such as 'text' and 'id'"


def _plain(value: Any) -> Any:
    """Return a value as Python's own type, or `_MISSING`; what it does not know comes back unchanged."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if library == "numpy" and getattr(value, "ndim", None) == 0 and not isinstance(value, str):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _MISSING
    if library == "pandas" and kind.__name__ in ("NaTType", "NAType"):
        return _MISSING
    return value


def _is_row(value: object) -> bool:
    """Tell a row of a table (a Series whose labels are the columns) from a column of it."""
    index = getattr(value, "index", None)
    if not hasattr(value, "to_dict") or index is None or callable(index):
        return False
    return "text" in index
