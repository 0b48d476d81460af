"""The errors that cross the border of the package."""

from __future__ import annotations

from typing import Any, ClassVar


class TweetClfError(Exception):
    """Base of every error that this package raises on purpose."""


class BundleError(TweetClfError, RuntimeError):
    """A bundle that must not be served: a file is missing, changed, or answers wrongly.

    It is a RuntimeError because TorchServe's loader reports those and lets any other type crash the
    worker in a loop. Source: TorchServe 0.12 ts/model_service_worker.py, load_model.
    """


class InvalidRequestError(TweetClfError, ValueError):
    """Input that the caller has to fix; carries the wire's stable code.

    Args:
        code: one of the words of `STATUS_BY_CODE`; clients may branch on it.
        message: what was found, what was expected, what to do. Never holds the text itself.
        index: position of the item in its request, or None when the whole request is unusable.
    """

    STATUS_BY_CODE: ClassVar[dict[str, int]] = {
        "EMPTY_TEXT": 400,
        "NOT_UTF8": 400,
        "BAD_JSON": 400,
        "BAD_FORM": 400,
        "BAD_ENCODING": 400,
        "WRONG_TYPE": 400,
        "TOO_MANY_ITEMS": 413,
        "TEXT_TOO_LONG": 413,
        "BODY_TOO_LARGE": 413,
        "UNSUPPORTED_MEDIA_TYPE": 415,
        "UNSUPPORTED_CHARSET": 415,
        "UNSUPPORTED_ENCODING": 415,
        "INTERNAL": 500,
        "NOT_IMPLEMENTED": 501,
        "DEADLINE": 504,
    }

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        if code not in self.STATUS_BY_CODE:
            raise ValueError(f"code is {code!r}; expected one of {sorted(self.STATUS_BY_CODE)}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.index = index

    @property
    def http_status(self) -> int:
        """Return the HTTP status that says the same as the code."""
        return self.STATUS_BY_CODE[self.code]

    def body(self) -> dict[str, Any]:
        """Return the JSON object that the wire carries instead of an answer."""
        error: dict[str, str | int] = {"code": self.code, "message": self.message}
        if self.index is not None:
            error["index"] = self.index
        return {"error": error}

    def as_string(self) -> str:
        """Return code and message in one line, for protocols whose errors are one string."""
        return f"{self.code}: {self.message}"


class StringFormError(InvalidRequestError):
    """An error of a protocol whose error is `{"error": "<string>"}`: Open Inference v2 and KServe v1.

    Source: Open Inference Protocol, REST, inference response JSON error object; KServe v1 data plane.
    """

    def body(self) -> dict[str, Any]:
        """Return the JSON object that the wire carries instead of an answer."""
        return {"error": self.as_string()}
