"""Write the answers of one request as the compact JSON of its shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tweetclf.classifier import Prediction
from tweetclf.errors import InvalidRequestError
from tweetclf.item import Item
from tweetclf.request import Shape, TweetRequest

Outcome = Prediction | InvalidRequestError
# json.dumps with options makes such an encoder for every answer, which takes longer than to encode one.
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
        the error in the protocol's form, beside which a list keeps every item's own error.
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
        # The error of a protocol that has no errors of single items stands alone, and names the item.
        item = f"item {errors[0].index} of {len(outcomes)}: " if len(outcomes) > 1 else ""
        if request.shape is Shape.OPEN_INFERENCE:
            body = {"error": item + errors[0].as_string()}
        elif request.shape is Shape.KSERVE_V1:
            body = {"error": item + errors[0].as_string(), **body}
        else:
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
    """Write the tensors asked for, in parallel; an item in error has "", null, "" and its error in the tensor `error`.

    The protocol knows errors of whole requests only; null reads as NaN into a float tensor. The tensor `error` comes
    without being asked for when an item has one: a caller who asked for `score` alone would not learn why it is null.
    """
    predictions = [outcome if isinstance(outcome, Prediction) else None for outcome in outcomes]
    columns: dict[str, tuple[str, list[Any]]] = {
        "label": ("BYTES", [prediction.label if prediction else "" for prediction in predictions]),
        "score": ("FP32", [prediction.score if prediction else None for prediction in predictions]),
        "decision": ("BYTES", [prediction.decision if prediction else "" for prediction in predictions]),
        "error": (
            "BYTES",
            ["" if isinstance(o, Prediction) else to_json(o.body()["error"]).decode() for o in outcomes],
        ),
    }
    names = list(request.outputs or ("label", "score", "decision"))
    if None in predictions and "error" not in names:
        names.append("error")
    body: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request.id is not None:
        body["id"] = request.id
    body["outputs"] = [
        {"name": name, "datatype": columns[name][0], "shape": [len(outcomes)], "data": columns[name][1]}
        for name in names
    ]
    return body


def grpc_open_inference_refusal(model_name: str, model_version: str) -> bytes:
    """Return the one answer to a gRPC call of Open Inference that does not end TorchServe's worker thread.

    TorchServe 0.12 reads `id`, the model and `outputs` out of the answer without a look whether they are there, so that
    the error is a tensor. Source: TorchServe 0.12, GRPCJob.response.
    """
    message = "NOT_IMPLEMENTED: gRPC calls of Open Inference are not served; call Predictions, or v2 over REST"
    tensor = {"name": "error", "datatype": "BYTES", "shape": [1], "data": [message]}
    return to_json({"id": "", "model_name": model_name, "model_version": model_version, "outputs": [tensor]})
