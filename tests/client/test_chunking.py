"""Lists cut into requests: nothing lost, nothing too large."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disaster_tweets_client import ItemError, chunking
from disaster_tweets_client.chunking import Chunk, cut


@given(texts=st.lists(st.text(max_size=60), max_size=40), max_items=st.integers(1, 9), max_bytes=st.integers(20, 200))
def test_cut_keeps_every_item_once_within_both_limits(texts: list[str], max_items: int, max_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "MAX_ITEMS", max_items)
        patch.setattr(chunking, "MAX_BYTES", max_bytes)
        parts = list(cut(texts))
    seen: dict[int, str | None] = {}
    for part in parts:
        if isinstance(part, Chunk):
            assert len(part.payload) <= max_bytes
            assert 1 <= len(part.indices) <= max_items
            seen.update(zip(part.indices, json.loads(part.payload), strict=True))
        else:
            index, error = part
            assert (error.code, error.index) == ("TEXT_TOO_LONG", index)
            assert len(json.dumps(texts[index])) + 2 > max_bytes
            seen[index] = None
    assert sorted(seen) == list(range(len(texts)))
    assert all(text is None or text == texts[index] for index, text in seen.items())


def test_cut_of_a_bulk_job_leaves_room_for_others_between_its_requests() -> None:
    parts = list(cut(["storm"] * 2_001))
    assert [len(part.indices) for part in parts] == [1_000, 1_000, 1]


def test_cut_stays_below_the_servers_limit_of_bytes() -> None:
    parts = list(cut(["x" * 10_000] * 1_000))
    assert [len(part.payload) <= 6_000_000 for part in parts] == [True, True]
    assert sum(len(part.indices) for part in parts) == 1_000


def test_cut_of_a_text_beyond_a_whole_request_gives_its_error_and_the_rest() -> None:
    first, second = cut(["x" * 6_000_000, "storm"])
    assert isinstance(first[1], ItemError)
    assert second == Chunk((1,), b'["storm"]')
