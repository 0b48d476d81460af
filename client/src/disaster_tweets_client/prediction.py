"""What comes back over the wire, as typed values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from disaster_tweets_client.errors import (
    DeadlineExceededError,
    DisasterTweetsError,
    ItemError,
    RequestError,
    UnexpectedAnswerError,
)
from disaster_tweets_client.inputs import Tweet, encode_tweet

__all__ = ["Decision", "Label", "Prediction", "Reply", "Tweet", "decode_many", "decode_single", "encode_tweet"]

Label = Literal["disaster", "not_disaster"]
Decision = Literal["disaster", "not_disaster", "review"]

# Codes that speak of one tweet. Any other is of the whole request, a later server's new ones and a gateway's too.
_TWEET_CODES = frozenset({"EMPTY_TEXT", "NOT_UTF8", "TEXT_TOO_LONG", "WRONG_TYPE"})


@dataclass(frozen=True)
class Prediction:
    """The server's answer for one tweet.

    Args:
        label: the more probable of the two classes.
        score: calibrated probability of "disaster", in [0, 1].
        decision: the label, or "review" where the score lies between the model's two thresholds.
        model_version: of the model that answered.
        id: the caller's own mark, unchanged; None when there was none.
        truncated: the tweet was longer than the model reads, and its end was not seen.
    """

    label: Label
    score: float
    decision: Decision
    model_version: str
    id: str | int | float | None = None
    truncated: bool = False


@dataclass(frozen=True)
class Reply:
    """One answer as it came over the wire.

    Args:
        status: HTTP status; None over gRPC, where TorchServe says OK whatever the handler answered.
        body: raw bytes.
    """

    status: int | None
    body: bytes


def decode_single(reply: Reply) -> Prediction | ItemError:
    """Return what a reply says of the one tweet that was sent.

    Raises:
        RequestError: the server refused the request, for another reason than the tweet.
        DeadlineExceededError: the server dropped it as too late.
        UnexpectedAnswerError: the reply has another form than documented.
    """
    body = _load(reply)
    error = _item_error(body, None)
    if error is None:
        return _prediction(_checked(body, reply))
    if error.code not in _TWEET_CODES or (reply.status or 0) >= 500:
        raise _request_error(reply.status, error.code, error.message)
    return error


def decode_many(reply: Reply, num_items: int) -> list[Prediction | ItemError]:
    """Return what a reply says of each tweet of a list, in order; an ItemError's index is its place in it.

    Raises:
        RequestError, DeadlineExceededError, UnexpectedAnswerError: as for one tweet.
    """
    body = _load(reply)
    # A list of which no item was usable comes as an error of the request that still holds each item's own.
    if isinstance(body, dict) and isinstance(body.get("predictions"), list):
        answers = body["predictions"]
        if len(answers) != num_items:
            raise UnexpectedAnswerError(f"the server gave {len(answers)} answers; expected {num_items}")
        return [_item_error(answer, index) or _prediction(answer) for index, answer in enumerate(answers)]
    error = _item_error(body, None)
    if error is not None:
        raise _request_error(reply.status, error.code, error.message)
    _checked(body, reply)
    raise UnexpectedAnswerError('the answer to a list holds no list "predictions"')


def _load(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested too deeply
        if reply.status is not None and reply.status != 200:
            raise RequestError(
                reply.status, "NOT_JSON", f"{len(reply.body)} bytes that are no JSON; is this a disaster-tweets server?"
            ) from None
        raise UnexpectedAnswerError(
            f"the answer is {len(reply.body)} bytes that are no JSON; expected a disaster-tweets server"
        ) from None


def _checked(body: Any, reply: Reply) -> Any:
    """Raise TorchServe's own refusal, {"code": 404, "type": "...", "message": "..."}; else return the body."""
    if reply.status not in (None, 200):
        fields = body if isinstance(body, dict) else {}
        raise RequestError(reply.status, str(fields.get("type", "UNKNOWN")), str(fields.get("message", "no message")))
    return body


def _item_error(answer: Any, index: int | None) -> ItemError | None:
    error = answer.get("error") if isinstance(answer, dict) else None
    if error is None:
        return None
    if not isinstance(error, dict):
        raise UnexpectedAnswerError('the answer\'s "error" is no object; expected {"code", "message"}')
    code, message = str(error.get("code", "UNKNOWN")), str(error.get("message", "no message"))
    return ItemError(code, message, index, answer.get("id"))


def _request_error(status: int | None, code: str, message: str) -> DisasterTweetsError:
    if code == "DEADLINE":
        return DeadlineExceededError(f"{message} (the clocks of client and server have to agree)")
    return RequestError(status, code, message)


def _prediction(answer: Any) -> Prediction:
    if not isinstance(answer, dict):
        raise UnexpectedAnswerError("an answer is no JSON object; expected label, score, decision and model_version")
    label, score, decision = answer.get("label"), answer.get("score"), answer.get("decision")
    version = answer.get("model_version")
    if (
        label not in get_args(Label)
        or decision not in get_args(Decision)
        or isinstance(score, bool)
        or not isinstance(score, int | float)
        or not 0 <= score <= 1
        or not isinstance(version, str)
        or not isinstance(answer.get("id"), str | int | float | None)
    ):
        raise UnexpectedAnswerError(
            f"an answer has label {label!r}, score {score!r}, decision {decision!r}, model_version {version!r}; "
            f"expected one of {get_args(Label)}, a number in 0..1, one of {get_args(Decision)} and a text, "
            "and an id that is a text or a number"
        )
    return Prediction(
        cast(Label, label),
        float(score),
        cast(Decision, decision),
        version,
        id=answer.get("id"),
        truncated=answer.get("truncated") is True,
    )
