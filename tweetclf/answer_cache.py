"""Answers given lately, by normalised text: retweets fill a crisis."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

# What an entry costs besides its text: the answer with its attributes, two references, its place in the
# order. Measured with tracemalloc on CPython 3.11 (tests/tweetclf/test_answer_cache.py keeps it an upper bound).
ENTRY_BYTES = 512


class AnswerCache(Generic[Answer]):
    """Keep the answers used last within a bound of memory; of one model only.

    Args:
        limit_bytes: bound of all entries, texts included; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def get(self, text: str) -> Answer | None:
        """Return the answer of a normalised text and mark it as used, or None."""
        answer = self._answers.get(text)
        if answer is None:
            self._misses += 1
            return None
        self._hits += 1
        self._answers.move_to_end(text)
        return answer

    def put(self, text: str, answer: Answer) -> None:
        """Keep an answer, dropping those not used for longest; one that is too large alone is not kept."""
        size = _entry_bytes(text)
        if size > self._limit_bytes or text in self._answers:
            return
        while self._bytes + size > self._limit_bytes:
            oldest, _ = self._answers.popitem(last=False)
            self._bytes -= _entry_bytes(oldest)
        self._answers[text] = answer
        self._bytes += size

    def facts(self) -> dict[str, int]:
        """Return bound, size, hits and misses since the worker started, for describe."""
        return {
            "limit_bytes": self._limit_bytes,
            "bytes": self._bytes,
            "entries": len(self._answers),
            "hits": self._hits,
            "misses": self._misses,
        }


def _entry_bytes(text: str) -> int:
    return sys.getsizeof(text) + ENTRY_BYTES
