"""What the REST and the gRPC client have in common: everything but the call itself."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Literal, TypeVar, overload

from disaster_tweets_client.arguments import check_model, check_retries, check_timeout
from disaster_tweets_client.chunking import cut, encode_sendable
from disaster_tweets_client.errors import DisasterTweetsError, InvalidArgumentError, ItemError
from disaster_tweets_client.inputs import check_tweets
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
        self._model = check_model(model)
        self._timeout_s = check_timeout(timeout_s)
        self._retries = check_retries(retries)
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
            tweets: a text, a mapping with "text" and perhaps "id", or any iterable of those: a list, a generator, a
                column of a DataFrame, an array. A long one is sent as several requests, one after the other.
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
            InvalidArgumentError: an argument cannot be used, such as a whole DataFrame.
            The error of a list holds the answers before it, as `finished`.
        """
        self._check_call(tweets, on_error)
        deadline = Deadline(self._timeout_s if timeout_s is None else timeout_s)
        if isinstance(tweets, str | Mapping):
            answer = self._predict_one(tweets, self._retries, deadline)
            if on_error == "raise" and isinstance(answer, ItemError):
                raise answer
            return answer
        answers: list[Prediction | ItemError] = []
        try:
            for answer in self._answers(tweets, lambda: deadline):
                if on_error == "raise" and isinstance(answer, ItemError):
                    raise answer
                answers.append(answer)
        except DisasterTweetsError as error:
            error.finished = answers
            raise
        return answers

    def predict_iter(
        self, tweets: Iterable[Tweet], *, on_error: OnError = "raise", timeout_s: float | None = None
    ) -> Iterator[Prediction | ItemError]:
        """Classify any number of tweets and yield each answer as soon as its request is answered, in order.

        Args:
            tweets: as of `predict`, but not a single one.
            on_error: as of `predict`.
            timeout_s: seconds for each request with its attempts; None takes the client's own.

        Raises:
            As `predict`; what was yielded before is the caller's already.
        """
        self._check_call(tweets, on_error)
        if isinstance(tweets, str | Mapping):
            raise InvalidArgumentError("tweets is a single tweet; expected several of them, or predict in its place")
        allowed_s = check_timeout(self._timeout_s if timeout_s is None else timeout_s)
        return self._raised(self._answers(tweets, lambda: Deadline(allowed_s)), on_error)

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

    def _check_call(self, tweets: object, on_error: str) -> None:
        if on_error not in ("raise", "return"):
            raise InvalidArgumentError(f'on_error is {on_error!r}; expected "raise" or "return"')
        check_tweets(tweets)
        self._check_open()

    @staticmethod
    def _raised(answers: Iterator[Prediction | ItemError], on_error: OnError) -> Iterator[Prediction | ItemError]:
        for answer in answers:
            if on_error == "raise" and isinstance(answer, ItemError):
                raise answer
            yield answer

    def _answers(
        self, tweets: Iterable[Tweet], next_deadline: Callable[[], Deadline]
    ) -> Iterator[Prediction | ItemError]:
        """Yield the answers in order; those of one request come together."""
        ready: dict[int, Prediction | ItemError] = {}
        next_index = 0
        for part in cut(tweets):
            if isinstance(part, tuple):
                ready[part[0]] = part[1]
            else:
                reply = self._call(part.payload, self._retries, next_deadline())
                for index, answer in zip(part.indices, decode_many(reply, len(part.indices)), strict=True):
                    if isinstance(answer, ItemError):
                        answer = ItemError(answer.code, answer.message, index, answer.id)
                    ready[index] = answer
            while next_index in ready:
                yield ready.pop(next_index)
                next_index += 1

    def _call(self, payload: bytes, retries: int | None, deadline: Deadline) -> Reply:
        return call_with_retries(lambda timeout_s: self._exchange(payload, timeout_s), retries, deadline)
