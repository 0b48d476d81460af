"""Send one drawn request over a socket of its own, as it is, and judge what comes back."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import Any

from tests.fuzz.drawn_requests import DrawnRequest

PATIENCE_S = 90.0  # a whole request is answered in milliseconds; a busy machine may need longer
RAW_PATIENCE_S = 0.2  # a broken one may rightly be waited on for ever
# The two answers of 5xx that README.md documents, with the code that each must carry.
DOCUMENTED_5XX = {501: "NOT_IMPLEMENTED", 504: "DEADLINE"}


@dataclass(frozen=True)
class Reply:
    """What came back; status None: the connection was closed, or (raw requests only) nothing came in time."""

    status: int | None
    body: bytes = b""


def as_bytes(request: DrawnRequest) -> bytes:
    """Write a request down; header names and values as Latin-1, the address as UTF-8."""
    if request.raw is not None:
        return request.raw
    head = [f"{request.method} {request.path} HTTP/1.1".encode(), b"Host: localhost", b"Connection: close"]
    head += [f"{name}: {value}".encode("latin-1") for name, value in request.headers]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(request.body), b"", request.body])


def exchange(port: int, request: DrawnRequest) -> Reply:
    """Send a request to 127.0.0.1 and read its answer.

    Raises:
        OSError: no connection, or no answer to a whole request within `PATIENCE_S`.
    """
    patience_s = PATIENCE_S if request.raw is None else RAW_PATIENCE_S
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.settimeout(patience_s)
        with contextlib.suppress(OSError):  # refused before it was read to its end; the answer is there all the same
            connection.sendall(as_bytes(request))
            if request.half_close:
                connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection, method=request.method if request.raw is None else "POST")
        try:
            response.begin()
            return Reply(response.status, b"" if response.status == 100 else response.read())
        except (http.client.HTTPException, ConnectionResetError):
            return Reply(None)
        except TimeoutError:
            if request.raw is None:
                raise
            return Reply(None)
        finally:
            response.close()


def problem_with(request: DrawnRequest, reply: Reply) -> str | None:
    """Return what a reply breaks of the promise, or None: no 5xx, JSON that everybody can read."""
    if reply.status is None:
        return None if request.raw is not None else "the connection was closed without an answer"
    if reply.status >= 500:
        expected = DOCUMENTED_5XX.get(reply.status)
        named = f'"code":"{expected}"'.encode() in reply.body or request.method == "HEAD"  # whose answer has no body
        if expected is None or not named:
            return f"HTTP {reply.status}: {reply.body[:200]!r}"
    if (
        request.raw is None
        and reply.body
        and request.method == "POST"
        and request.path.startswith("/predictions/tweets")
    ):
        try:
            json.loads(reply.body, parse_constant=_refuse)
        except ValueError as error:
            return f"HTTP {reply.status} with a body that is no JSON ({error})"
    return None


def timed(port: int, request: DrawnRequest) -> tuple[Reply, float]:
    """Return the reply and the seconds that it took."""
    started = time.monotonic()
    return exchange(port, request), time.monotonic() - started


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
