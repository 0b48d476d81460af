"""What the REST and the gRPC client have in common: everything but the call itself."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Literal, TypeVar, overload

from disaster_tweets_client.chunking import cut, encode_sendable
from disaster_tweets_client.errors import DisasterTweetsError, ItemError
from disaster_tweets_client.prediction import Prediction, Reply, Tweet, decode_many, decode_single
from disaster_tweets_client.retry import Deadline, call_with_retries

Self = TypeVar("Self", bound="BaseClient")
OnError = Literal["raise", "return"]

_READY_TWEET = "Flood water is over the bridge, families wait on the roofs"


class BaseClient(abc.ABC):
    """A client of one model on one server.

    One client may be shared by threads. It holds connections: close it, or use it in a `with` statement.

    Args:
        model: the name that the server serves it under.
        timeout_s: seconds that one call may take, all its requests, attempts and waits together.
        retries: attempts after the first, per request; None: as many as the time allows.
    """

    def __init__(self, model: str, timeout_s: float, retries: int | None) -> None:
        Deadline(timeout_s)
        if retries is not None and retries < 0:
            raise ValueError(f"retries is {retries}; expected 0 or more, or None for as many as timeout_s allows")
        if not model:
            raise ValueError("model is empty; expected the name that the server serves it under")
        self._model = model
        self._timeout_s = timeout_s
        self._retries = retries
        self._is_closed = False

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is an Iterable of str, but is one tweet here
        self, tweets: Tweet, *, on_error: Literal["raise"] = "raise", timeout_s: float | None = None
    ) -> Prediction: ...

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, tweets: Tweet, *, on_error: Literal["return"], timeout_s: float | None = None
    ) -> Prediction | ItemError: ...

    @overload
    def predict(
        self, tweets: Iterable[Tweet], *, on_error: Literal["raise"] = "raise", timeout_s: float | None = None
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, tweets: Iterable[Tweet], *, on_error: Literal["return"], timeout_s: float | None = None
    ) -> list[Prediction | ItemError]: ...

    def predict(
        self, tweets: Tweet | Iterable[Tweet], *, on_error: OnError = "raise", timeout_s: float | None = None
    ) -> Prediction | ItemError | list[Prediction] | list[Prediction | ItemError]:
        """Classify one tweet or a list of them.

        Args:
            tweets: a text, a mapping with "text" and perhaps "id", or any iterable of those; a long one
                is sent as several requests, one after the other.
            on_error: what to do with a tweet that cannot be classified: raise its ItemError (of a list,
                the first one), or return it in the tweet's place.
            timeout_s: seconds for this call; None takes the client's own. Very long lists need more.

        Returns:
            One answer for one tweet; for a list, one an item, same order.

        Raises:
            ItemError: a tweet cannot be classified, and `on_error` is "raise".
            RequestError: the server refused the request; the same one would be refused again.
            ServerUnavailableError: no attempt reached a server that could answer.
            DeadlineExceededError: the time was over first.
            UnexpectedAnswerError: the answer is not of the documented form.
        """
        if on_error not in ("raise", "return"):
            raise ValueError(f'on_error is {on_error!r}; expected "raise" or "return"')
        if isinstance(tweets, bytes | bytearray) or not isinstance(tweets, Iterable):
            raise TypeError(
                f"tweets is {type(tweets).__name__}; expected a text, a mapping with 'text', or several of those"
            )
        self._check_open()
        deadline = Deadline(self._timeout_s if timeout_s is None else timeout_s)
        if isinstance(tweets, str | Mapping):
            answer = self._predict_one(tweets, self._retries, deadline)
            if on_error == "raise" and isinstance(answer, ItemError):
                raise answer
            return answer
        answers = self._predict_many(tweets, deadline)
        if on_error == "raise":
            for answer in answers:
                if isinstance(answer, ItemError):
                    raise answer
        return answers

    def is_ready(self, timeout_s: float = 2.0) -> bool:
        """Return whether a true prediction comes back now, without a second attempt.

        TorchServe's own /ping says "Healthy" while no model is loaded; only an answer tells.
        """
        self._check_open()
        try:
            return isinstance(self._predict_one(_READY_TWEET, 0, Deadline(timeout_s)), Prediction)
        except DisasterTweetsError:
            return False

    def close(self) -> None:
        """Close the connections; a closed client answers nothing more."""
        self._is_closed = True
        self._disconnect()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abc.abstractmethod
    def _exchange(self, payload: bytes, timeout_s: float) -> Reply:
        """Send one JSON body and return the answer.

        Raises:
            TransientError: worth another attempt.
            DisasterTweetsError: not.
        """

    @abc.abstractmethod
    def _disconnect(self) -> None:
        """Close the connections."""

    def _check_open(self) -> None:
        if self._is_closed:
            raise DisasterTweetsError("the client is closed; make a new one")

    def _predict_one(self, tweet: Tweet, retries: int | None, deadline: Deadline) -> Prediction | ItemError:
        try:
            payload = encode_sendable(tweet)
        except ItemError as error:
            return error
        return decode_single(self._call(payload, retries, deadline))

    def _predict_many(self, tweets: Iterable[Tweet], deadline: Deadline) -> list[Prediction | ItemError]:
        answers: dict[int, Prediction | ItemError] = {}
        for part in cut(tweets):
            if isinstance(part, tuple):
                answers[part[0]] = part[1]
                continue
            reply = self._call(part.payload, self._retries, deadline)
            for index, answer in zip(part.indices, decode_many(reply, len(part.indices)), strict=True):
                if isinstance(answer, ItemError):
                    answer = ItemError(answer.code, answer.message, index, answer.id)
                answers[index] = answer
        return [answers[index] for index in range(len(answers))]

    def _call(self, payload: bytes, retries: int | None, deadline: Deadline) -> Reply:
        return call_with_retries(lambda timeout_s: self._exchange(payload, timeout_s), retries, deadline)
