"""Write the answers of one request as the compact JSON of its shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tweetclf.classifier import Prediction
from tweetclf.errors import InvalidRequestError
from tweetclf.request import Item, Shape, TweetRequest

Outcome = Prediction | InvalidRequestError
# json.dumps with options makes such an encoder anew for every answer, which takes longer than to encode one.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def encode_answer(
    request: TweetRequest, outcomes: Sequence[Outcome], model_name: str, model_version: str
) -> tuple[int, bytes]:
    """Return the HTTP status and the body for one request.

    Args:
        request: the parsed request.
        outcomes: one entry an item, same order.
        model_name: the name that the server serves the model under (v2 only).
        model_version: goes into every answer.

    Returns:
        200 when at least one item was classified or none was sent; else the first error's status with
        its object, beside which a list keeps every item's own error.
    """
    answers = [_answer(item, outcome, model_version) for item, outcome in zip(request.items, outcomes, strict=True)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, InvalidRequestError)]
    status = errors[0].http_status if errors and len(errors) == len(outcomes) else 200
    body: dict[str, Any]
    if request.shape is Shape.SINGLE:
        body = answers[0]
    elif request.shape is Shape.OPEN_INFERENCE:
        body = _tensors(request, outcomes, model_name, model_version)
    else:
        body = {"predictions": answers}
    if status != 200:
        body = {**errors[0].body(), **body}
    return status, to_json(body)


def to_json(body: Any) -> bytes:
    """Return compact JSON in ASCII, so that a lone surrogate in an id cannot break the answer."""
    return _ENCODER.encode(body).encode("ascii")


def _answer(item: Item, outcome: Outcome, model_version: str) -> dict[str, Any]:
    head = {"id": item.id} if item.has_id else {}
    if isinstance(outcome, InvalidRequestError):
        return {**head, **outcome.body()}
    answer: dict[str, Any] = {
        **head,
        "label": outcome.label,
        "score": outcome.score,
        "decision": outcome.decision,
        "model_version": model_version,
    }
    if outcome.truncated:
        answer["truncated"] = True
    return answer


def _tensors(request: TweetRequest, outcomes: Sequence[Outcome], model_name: str, model_version: str) -> dict[str, Any]:
    """Write parallel tensors; an item in error has "", null, "" and its error in a fourth tensor.

    The protocol knows errors of whole requests only; null reads as NaN into a float tensor.
    """
    predictions = [outcome if isinstance(outcome, Prediction) else None for outcome in outcomes]
    columns: list[tuple[str, str, list[Any]]] = [
        ("label", "BYTES", [prediction.label if prediction else "" for prediction in predictions]),
        ("score", "FP32", [prediction.score if prediction else None for prediction in predictions]),
        ("decision", "BYTES", [prediction.decision if prediction else "" for prediction in predictions]),
    ]
    if None in predictions:
        errors = ["" if isinstance(o, Prediction) else to_json(o.body()["error"]).decode() for o in outcomes]
        columns.append(("error", "BYTES", errors))
    body: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request.id is not None:
        body["id"] = request.id
    body["outputs"] = [
        {"name": name, "datatype": datatype, "shape": [len(data)], "data": data} for name, datatype, data in columns
    ]
    return body
