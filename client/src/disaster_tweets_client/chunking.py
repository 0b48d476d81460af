"""Cut a list of tweets into requests that the server accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from disaster_tweets_client.errors import ItemError
from disaster_tweets_client.inputs import Tweet, encode_tweet

# A tenth of what the server takes: a request keeps its worker until all of it is done, and single tweets of others pass
# between two of them. Some thirty micro-batches, so the cut costs next to nothing.
MAX_ITEMS = 1_000
# TorchServe takes and gives 6,553,500 bytes; the rest is for headers and the gRPC frame.
# Source: TorchServe 0.12, max_request_size and max_response_size in docs/configuration.md.
MAX_BYTES = 6_000_000


@dataclass(frozen=True)
class Chunk:
    """One request's share of a list.

    Args:
        indices: places of its items in the whole list, rising; not always in a row.
        payload: JSON list of the items.
    """

    indices: tuple[int, ...]
    payload: bytes


def cut(tweets: Iterable[Tweet]) -> Iterator[Chunk | tuple[int, ItemError]]:
    """Yield the requests for a list, and the place and error of each item that cannot be sent at all.

    Requests are made one at a time, so a long list is never in memory twice.
    """
    indices: list[int] = []
    encoded: list[bytes] = []
    size_bytes = 0
    for index, tweet in enumerate(tweets):
        try:
            item = encode_sendable(tweet)
        except ItemError as error:
            yield index, ItemError(error.code, error.message, index, error.id)
            continue
        if encoded and (len(encoded) == MAX_ITEMS or size_bytes + len(item) + 2 > MAX_BYTES):
            yield _chunk(indices, encoded)
            indices, encoded, size_bytes = [], [], 0
        indices.append(index)
        encoded.append(item)
        size_bytes += len(item) + 1  # and its comma
    if encoded:
        yield _chunk(indices, encoded)


def encode_sendable(tweet: Tweet) -> bytes:
    """Return a tweet as JSON that fits into a request.

    Raises:
        ItemError: it does not; the server would cut the connection instead of answering.
    """
    item = encode_tweet(tweet)
    if len(item) + 2 > MAX_BYTES:
        raise ItemError(
            "TEXT_TOO_LONG", f"the item is {len(item)} bytes as JSON; expected at most {MAX_BYTES}; send its start only"
        )
    return item


def _chunk(indices: list[int], encoded: list[bytes]) -> Chunk:
    return Chunk(tuple(indices), b"[" + b",".join(encoded) + b"]")
