"""Find tweets that say the same: exactly after normalisation, or nearly by MinHash."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from datasketch import MinHash, MinHashLSH

from tweetclf.text import URL_TOKEN, USER_TOKEN

SHINGLE_CHARS = 5
JACCARD_THRESHOLD = 0.7
PERMUTATIONS = 64
_NOISE = re.compile(rf"\b{URL_TOKEN}\b|{USER_TOKEN}|^rt\b|[^\w\s]")


def majority_targets(keys: Sequence[str], targets: Sequence[int]) -> dict[str, int | None]:
    """Return the majority label of each group of equal texts, None for a tie.

    The policy for contradictory labels: the majority decides what is learnt; a tie says that people cannot tell,
    and the text is not trained on. Figures are of the rows with their own labels, contradictions included.

    Args:
        keys: normalised text of each row.
        targets: label of each row, same order.
    """
    votes: dict[str, Counter[int]] = {}
    for key, target in zip(keys, targets, strict=True):
        votes.setdefault(key, Counter())[target] += 1
    return {key: 0 if count[0] > count[1] else 1 if count[1] > count[0] else None for key, count in votes.items()}


def group_near_duplicates(texts: Sequence[str], progress: Iterable[int] | None = None) -> list[int]:
    """Return a group number for each text; texts of one group are near-duplicates, directly or by a chain.

    Two texts are near-duplicates when the Jaccard similarity of their sets of character 5-grams (lower case,
    without links, mentions and punctuation) is at least 0.7. MinHash proposes the pairs, the exact sets decide,
    so no group holds a pair that only the hash believes in; pairs that the hash misses stay apart.

    Args:
        texts: normalised tweets.
        progress: range over the texts to iterate instead, for a progress bar.

    Returns:
        The position of the first text of its group, one a text.

    Source: Broder 1997 (resemblance of documents); `datasketch` for MinHash and its index.
    """
    shingles = [_shingles(text) for text in texts]
    parents = list(range(len(texts)))
    index = MinHashLSH(threshold=JACCARD_THRESHOLD, num_perm=PERMUTATIONS)
    first_of: dict[frozenset[bytes], int] = {}
    for position in progress if progress is not None else range(len(texts)):
        found = shingles[position]
        if found in first_of:
            _union(parents, position, first_of[found])
            continue
        first_of[found] = position
        sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch(found)
        for other in index.query(sketch):
            if _jaccard(found, shingles[other]) >= JACCARD_THRESHOLD:
                _union(parents, position, other)
        index.insert(position, sketch)
    return [_find(parents, position) for position in range(len(texts))]


def _shingles(text: str) -> frozenset[bytes]:
    bare = " ".join(_NOISE.sub(" ", text.lower()).split())
    if len(bare) <= SHINGLE_CHARS:
        # Nothing but links, mentions or a word: only its equal is its duplicate.
        return frozenset((bare.encode() or text.encode(),))
    return frozenset(bare[start : start + SHINGLE_CHARS].encode() for start in range(len(bare) - SHINGLE_CHARS + 1))


def _jaccard(left: frozenset[bytes], right: frozenset[bytes]) -> float:
    common = len(left & right)
    return common / (len(left) + len(right) - common)


def _find(parents: list[int], position: int) -> int:
    while parents[position] != position:
        parents[position] = parents[parents[position]]
        position = parents[position]
    return position


def _union(parents: list[int], left: int, right: int) -> None:
    left, right = _find(parents, left), _find(parents, right)
    # The smaller position is the root, so that a group is named after its first text.
    parents[max(left, right)] = min(left, right)
