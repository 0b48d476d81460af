"""The kept answers stay within their bound, counted and in truth, and drop the one unused for longest."""

from __future__ import annotations

import tracemalloc

from tweetclf.answer_cache import ENTRY_BYTES, AnswerCache
from tweetclf.classifier import Prediction


def entry(text: str) -> int:
    """Size of a text in the cache: CPython's header of an ASCII string is 49 or 41 bytes."""
    return text.__sizeof__() + ENTRY_BYTES


def test_get_of_a_kept_answer_gives_it_and_counts() -> None:
    cache: AnswerCache[str] = AnswerCache(10_000)
    assert cache.get("fire") is None
    cache.put("fire", "yes")
    assert cache.get("fire") == "yes"
    assert cache.facts() == {"limit_bytes": 10_000, "bytes": entry("fire"), "entries": 1, "hits": 1, "misses": 1}


def test_put_beyond_the_bound_drops_the_one_not_used_for_longest() -> None:
    cache: AnswerCache[int] = AnswerCache(3 * entry("a"))
    for number, text in enumerate("abc"):
        cache.put(text, number)
    assert cache.get("a") == 0  # now b is the oldest
    cache.put("d", 3)
    assert [cache.get(text) for text in "abcd"] == [0, None, 2, 3]


def test_put_of_a_text_larger_than_the_bound_keeps_the_others() -> None:
    cache: AnswerCache[int] = AnswerCache(2_000)
    cache.put("a", 1)
    cache.put("x" * 2_000, 2)
    assert cache.get("a") == 1
    assert cache.facts()["entries"] == 1


def test_put_of_many_answers_takes_no_more_memory_than_the_bound() -> None:
    limit_bytes = 1_000_000
    cache: AnswerCache[Prediction] = AnswerCache(limit_bytes)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(6_000):
            cache.put(
                f"a tweet about the flood in town number {number}", Prediction("disaster", number / 1e4, "review")
            )
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    facts = cache.facts()
    assert facts["bytes"] <= limit_bytes
    assert 1_000 < facts["entries"] < 6_000
    assert used <= limit_bytes
