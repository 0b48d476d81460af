"""The answers' JSON, for each shape, with and without errors."""

from __future__ import annotations

import json
from typing import Any

from tweetclf.classifier import Prediction
from tweetclf.errors import InvalidRequestError
from tweetclf.item import Item
from tweetclf.request import Shape, TweetRequest
from tweetclf.response import Outcome, encode_answer

YES = Prediction("disaster", 0.91, "disaster")
CUT = Prediction("not_disaster", 0.4, "review", truncated=True)
EMPTY = InvalidRequestError("EMPTY_TEXT", "nothing", 1)


def answer(shape: Shape, items: list[Item], outcomes: list[Outcome], request_id: str | None = None) -> tuple[int, Any]:
    status, body = encode_answer(TweetRequest(shape, items, request_id), outcomes, "tweets", "v1")
    return status, json.loads(body)


def test_encode_answer_of_one_tweet_is_one_object() -> None:
    assert answer(Shape.SINGLE, [Item("a")], [YES]) == (
        200,
        {"label": "disaster", "score": 0.91, "decision": "disaster", "model_version": "v1"},
    )


def test_encode_answer_gives_ids_back_null_included() -> None:
    items = [Item("a", None, True), Item("b", "\ud800", True), Item("c")]
    _, body = answer(Shape.MANY, items, [YES, CUT, YES])
    assert [entry.get("id", "absent") for entry in body["predictions"]] == [None, "\ud800", "absent"]
    assert body["predictions"][1]["truncated"] is True


def test_encode_answer_of_one_bad_tweet_has_its_status() -> None:
    assert answer(Shape.SINGLE, [Item("", 7, True)], [InvalidRequestError("EMPTY_TEXT", "nothing")]) == (
        400,
        {"error": {"code": "EMPTY_TEXT", "message": "nothing"}, "id": 7},
    )


def test_encode_answer_with_one_bad_item_keeps_200_and_its_place() -> None:
    status, body = answer(Shape.MANY, [Item("a"), Item("")], [YES, EMPTY])
    assert status == 200
    assert body["predictions"][1] == {"error": {"code": "EMPTY_TEXT", "message": "nothing", "index": 1}}


def test_encode_answer_with_nothing_usable_is_an_error_that_keeps_every_item() -> None:
    status, body = answer(Shape.MANY, [Item(""), Item("")], [EMPTY, EMPTY])
    assert status == 400
    assert body["error"]["code"] == "EMPTY_TEXT"
    assert len(body["predictions"]) == 2


def test_encode_answer_of_an_empty_list_is_an_empty_list() -> None:
    assert answer(Shape.MANY, [], []) == (200, {"predictions": []})


def test_encode_answer_for_open_inference_is_parallel_tensors() -> None:
    status, body = answer(Shape.OPEN_INFERENCE, [Item("a"), Item("")], [YES, EMPTY], "r-1")
    assert status == 200
    assert (body["model_name"], body["model_version"], body["id"]) == ("tweets", "v1", "r-1")
    tensors = {tensor["name"]: tensor for tensor in body["outputs"]}
    assert tensors["label"] == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["disaster", ""]}
    assert tensors["score"] == {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.91, None]}
    assert tensors["decision"]["data"] == ["disaster", ""]
    assert json.loads(tensors["error"]["data"][1])["code"] == "EMPTY_TEXT"


def test_encode_answer_for_open_inference_without_errors_has_three_tensors() -> None:
    _, body = answer(Shape.OPEN_INFERENCE, [Item("a")], [YES])
    assert [tensor["name"] for tensor in body["outputs"]] == ["label", "score", "decision"]
    assert "id" not in body


def test_encode_answer_for_open_inference_gives_the_outputs_asked_for_in_that_order() -> None:
    request = TweetRequest(Shape.OPEN_INFERENCE, [Item("a")], None, ("error", "score"))
    _, body = encode_answer(request, [YES], "tweets", "v1")
    assert [(tensor["name"], tensor["data"]) for tensor in json.loads(body)["outputs"]] == [
        ("error", [""]),
        ("score", [0.91]),
    ]


def test_encode_answer_for_open_inference_with_a_bad_item_adds_the_error_to_what_was_asked_for() -> None:
    request = TweetRequest(Shape.OPEN_INFERENCE, [Item("a"), Item("")], None, ("score",))
    _, body = encode_answer(request, [YES, EMPTY], "tweets", "v1")
    assert [tensor["name"] for tensor in json.loads(body)["outputs"]] == ["score", "error"]


def test_encode_answer_with_nothing_usable_has_the_protocols_form_of_error() -> None:
    assert answer(Shape.OPEN_INFERENCE, [Item("")], [InvalidRequestError("EMPTY_TEXT", "nothing", 0)]) == (
        400,
        {"error": "EMPTY_TEXT: nothing"},
    )
    bad = InvalidRequestError("EMPTY_TEXT", "nothing", 0)
    status, body = answer(Shape.KSERVE_V1, [Item(""), Item("")], [bad, EMPTY])
    assert (status, body["error"]) == (400, "item 0 of 2: EMPTY_TEXT: nothing")
    assert [entry["error"]["index"] for entry in body["predictions"]] == [0, 1]


def test_encode_answer_is_compact() -> None:
    _, body = encode_answer(TweetRequest(Shape.SINGLE, [Item("a")]), [YES], "tweets", "v1")
    assert b" " not in body
    assert b"\n" not in body
