"""The errors that a caller of the client can meet."""

from __future__ import annotations

from typing import Any


class DisasterTweetsError(Exception):
    """Base of every error that the client raises.

    Args:
        finished: answers of a list before the tweet at which it failed, in order: the first `len(finished)` tweets
            have theirs, and the list can be sent again from there. Empty for a tweet sent alone.
    """

    finished: list[Any] = []  # noqa: RUF012 (never changed: an error with answers gets a list of its own)


class InvalidArgumentError(DisasterTweetsError, ValueError, TypeError):
    """An argument that the client cannot use; nothing was sent."""


class ItemError(DisasterTweetsError):
    """One tweet that the server could not classify; its neighbours in a list are not touched by it.

    Args:
        code: stable word of the wire, such as EMPTY_TEXT, TEXT_TOO_LONG or WRONG_TYPE.
        message: what was found and what to do; never the text itself.
        index: place in the list given to `predict`; None for a tweet sent alone.
        id: the caller's own mark, when the item had one.
    """

    def __init__(self, code: str, message: str, index: int | None = None, id: object = None) -> None:
        super().__init__(code, message, index, id)  # all of them, so that the error survives pickling
        self.code = code
        self.message = message
        self.index = index
        self.id = id

    def __str__(self) -> str:
        place = "" if self.index is None else f"item {self.index}: "
        return f"{place}{self.code}: {self.message}"


class RequestError(DisasterTweetsError):
    """A whole request that the server refused, and would refuse again.

    Args:
        status: HTTP status; None over gRPC.
        code: stable word of the wire, TorchServe's own type such as ModelNotFoundException, or the name
            of the HTTP or gRPC status where the server gave neither.
        message: the server's words.
    """

    def __init__(self, status: int | None, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message

    def __str__(self) -> str:
        status = "" if self.status is None else f"HTTP {self.status}, "
        return f"{status}{self.code}: {self.message}"


class ServerUnavailableError(DisasterTweetsError):
    """The server could not be reached or was overloaded, at every attempt."""


class DeadlineExceededError(DisasterTweetsError):
    """The time allowed for the call, with all its attempts, is over or would be before the next one."""


class UnexpectedAnswerError(DisasterTweetsError):
    """An answer that is not of the documented form; something else than disaster-tweets may be listening."""
