"""Near-duplicates share a group, and different tweets do not."""

from __future__ import annotations

import pytest

from training.data.duplicates import group_near_duplicates, majority_targets

FLOOD = "flood water is over the old bridge in marlow and families wait on their roofs"


@pytest.mark.parametrize(
    "other",
    [
        FLOOD.upper(),
        f"RT @user: {FLOOD} http",
        FLOOD.replace("old bridge", "bridge"),
        FLOOD + "!!!",
    ],
)
def test_group_near_duplicates_of_a_slightly_changed_tweet_is_one_group(other: str) -> None:
    assert group_near_duplicates([FLOOD, "good morning from the harbour", other]) == [0, 1, 0]


def test_group_near_duplicates_of_a_chain_is_one_group_named_after_its_first() -> None:
    # Neighbours share nine tenths; the ends share nothing like seven.
    text = " ".join(f"{word}{number}" for number in range(6) for word in FLOOD.split())
    chain = [text[start : start + 300] for start in range(0, 150, 15)]
    assert group_near_duplicates([chain[0], chain[-1]]) == [0, 1]
    assert group_near_duplicates(chain) == [0] * len(chain)


def test_group_near_duplicates_of_the_same_topic_stays_apart() -> None:
    texts = [
        FLOOD,
        "flood warning for the river tolm until nine",
        "families in marlow love the old bridge",
        "fire",
        "!",
    ]
    assert group_near_duplicates(texts) == [0, 1, 2, 3, 4]


def test_group_near_duplicates_twice_gives_the_same_groups() -> None:
    texts = [f"{FLOOD} {number % 7} {'x' * (number % 5)}" for number in range(60)]
    assert group_near_duplicates(texts) == group_near_duplicates(texts)


def test_majority_targets_of_contradictions_takes_the_majority_and_leaves_ties_open() -> None:
    keys = ["a", "a", "a", "b", "b", "c"]
    assert majority_targets(keys, [1, 0, 1, 0, 1, 0]) == {"a": 1, "b": None, "c": 0}
