"""Errors that travel: between processes, and into logs."""

from __future__ import annotations

import pickle

import pytest

from disaster_tweets_client import ItemError, RequestError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ItemError("EMPTY_TEXT", "nothing to read"), "EMPTY_TEXT: nothing to read"),
        (ItemError("EMPTY_TEXT", "nothing to read", 3, "b"), "item 3: EMPTY_TEXT: nothing to read"),
        (RequestError(404, "ModelNotFoundException", "no cats"), "HTTP 404, ModelNotFoundException: no cats"),
        (RequestError(None, "INTERNAL", "failed"), "INTERNAL: failed"),
    ],
)
def test_an_error_when_pickled_comes_back_whole(error: Exception, text: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == text
    assert vars(again) == vars(error)
