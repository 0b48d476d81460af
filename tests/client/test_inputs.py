"""What a caller may give to the client: certain inputs are read, others refused by name before anything is sent."""

from __future__ import annotations

import array
import collections
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from disaster_tweets_client import InvalidArgumentError, ItemError, Prediction
from disaster_tweets_client.inputs import encode_tweet
from tests.client.conftest import Client
from tests.client.stub_server import StubServer

TEXTS = ["Flood water is over the bridge in Marlow", "this mixtape is fire"]
FRAME = pd.DataFrame({"id": [7, 8], "text": TEXTS, "keyword": [np.nan, "fire"], "location": [None, pd.NA]})


@pytest.mark.parametrize(
    "tweets",
    [
        TEXTS,
        tuple(TEXTS),
        pd.Series(TEXTS),
        FRAME["text"],
        FRAME["text"].astype("category"),
        pd.Index(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        dict(enumerate(TEXTS)).values(),
        dict.fromkeys(TEXTS).keys(),
        collections.deque(TEXTS),
    ],
    ids=lambda tweets: type(tweets).__name__,
)
def test_predict_of_several_texts_of_any_kind_when_their_order_is_certain_sends_them(
    client: Client, stub: StubServer, tweets: Any
) -> None:
    answers = client.predict(tweets)
    assert [type(answer) for answer in answers] == [Prediction, Prediction]
    assert json.loads(stub.received[0].body) == TEXTS


def test_predict_of_records_of_a_table_when_values_are_missing_leaves_them_out(
    client: Client, stub: StubServer
) -> None:
    answers = client.predict(FRAME.to_dict("records"))
    assert [answer.id for answer in answers] == [7, 8]
    assert json.loads(stub.received[0].body) == [
        {"id": 7, "text": TEXTS[0]},
        {"id": 8, "text": TEXTS[1], "keyword": "fire"},
    ]


class Table:
    """What a table of polars, or another library, has in common with one of pandas."""

    columns = ("text",)

    def __iter__(self) -> Any:
        return iter(self.columns)


@pytest.mark.parametrize(
    ("tweets", "words"),
    [
        (FRAME, r'DataFrame, a table.*frame\["text"\].*to_dict\("records"\)'),
        (FRAME[["text"]], r'frame\["text"\]'),
        (Table(), "Table, a table"),
        (FRAME.iloc[0], r"Series, one row of a table.*row\.to_dict\(\)"),
        (np.array([TEXTS]), "2 dimensions"),
        (np.array(TEXTS[0]), "0 dimensions"),
        (set(TEXTS), "set, which has no order"),
        (frozenset(TEXTS), "frozenset"),
        (b"bytes", "bytes"),
        (bytearray(b"bytes"), "bytearray"),
        (memoryview(b"bytes"), "memoryview"),
        (array.array("b", b"bytes"), "array"),
        (collections.UserString("one tweet"), "UserString"),
        (None, "NoneType"),
        (float("nan"), "float"),
        (5, "int"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_predict_of_what_would_give_other_texts_is_refused_by_name(
    client: Client, stub: StubServer, tweets: Any, words: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        client.predict(tweets)
    with pytest.raises(InvalidArgumentError, match=words):
        client.predict_iter(tweets)
    assert stub.received == []


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(7), 7),
        (10**400, 10**400),
    ],
    ids=repr,
)
def test_encode_tweet_when_the_id_is_of_numpy_writes_the_number_of_python(given: Any, sent: Any) -> None:
    found = json.loads(encode_tweet({"text": "storm", "id": given}))["id"]
    assert (found, type(found)) == (sent, type(sent))


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT], ids=repr)
@pytest.mark.parametrize("name", ["id", "keyword", "location"])
def test_encode_tweet_when_a_value_is_missing_leaves_its_field_out(name: str, missing: Any) -> None:
    assert json.loads(encode_tweet({"text": "storm", name: missing})) == {"text": "storm"}


@pytest.mark.parametrize("missing", [float("nan"), np.float32("nan"), pd.NA, pd.NaT], ids=repr)
def test_predict_when_a_text_is_missing_names_the_field_and_the_place(client: Client, missing: Any) -> None:
    with pytest.raises(ItemError, match=r"^item 1: WRONG_TYPE: 'text' is a missing value") as caught:
        client.predict([TEXTS[0], {"text": missing, "id": np.int64(9)}])
    assert caught.value.id == 9
    with pytest.raises(ItemError, match=r"^item 1: WRONG_TYPE: the item is a missing value"):
        client.predict([TEXTS[0], missing])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("id", Decimal(7), "'id' is of type Decimal"),
        ("id", float("inf"), "'id' is infinite"),
        ("id", np.datetime64("2026-11-30"), "'id' is of type date"),
        ("id", np.array([1, 2]), "'id' is of type ndarray"),
        ("id", 7 + 1j, "'id' is of type complex"),
        ("keyword", b"fire", "'keyword' is of type bytes"),
        ("created", pd.Timestamp("2026-11-30"), "'created' is of type Timestamp"),
        ("text", b"storm", "'text' is of type bytes"),
    ],
)
def test_predict_when_json_cannot_carry_a_field_names_field_type_and_place(
    client: Client, name: str, value: Any, words: str
) -> None:
    with pytest.raises(ItemError, match=f"^item 1: WRONG_TYPE: {words}"):
        client.predict([TEXTS[0], {"text": "storm", name: value}])


def test_predict_when_an_item_is_a_row_of_a_table_says_how_to_send_it(client: Client) -> None:
    with pytest.raises(ItemError, match=r"^item 0: WRONG_TYPE: the item is of type Series.*row\.to_dict\(\)"):
        client.predict([row for _, row in FRAME.iterrows()])


def test_encode_tweet_when_a_field_is_nested_without_end_says_so() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ItemError, match="'extra' is of type list"):
        encode_tweet({"text": "storm", "extra": deep})
    while deep:  # freed by hand: the interpreter's own way is as deep
        deep = deep.pop()
