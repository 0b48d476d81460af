"""The body of one request out of the parameters and headers that a server hands over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tweetclf.form import TEXT_FIELDS


@dataclass(frozen=True)
class Payload:
    """One request as it came over the wire.

    Args:
        body: raw bytes.
        content_type: header value with its parameters, or "".
        headers: names in lower case -> values.
    """

    body: bytes
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """Return a header's value by its name in lower case."""
        return self.headers.get(name)


def read_payload(parameters: Mapping[str, Any], raw_headers: Mapping[str, Any] | None) -> Payload:
    """Find the body among a server's parameters.

    Args:
        parameters: name -> value, bytes as a rule; str, dict or list where the server decoded it.
        raw_headers: name -> value; TorchServe mixes in one mapping a parameter, under its name.

    Returns:
        The body. Where a server took a form apart (our own front end does not), it is put together
        again as well as the wire allows.
    """
    raw_headers = raw_headers or {}
    headers = {str(name).lower(): value for name, value in raw_headers.items() if isinstance(value, str)}
    content_type = headers.get("content-type", "")
    for name in ("body", *TEXT_FIELDS):
        if parameters.get(name):
            own = raw_headers.get(name)
            own_type = own.get("content-type", "") if isinstance(own, Mapping) else ""
            if name != "body":  # a field of a form: the request's type says nothing of it
                content_type = str(own_type)
            return Payload(_to_bytes(parameters[name]), content_type or str(own_type), headers)
    if set(parameters) <= {"body", *TEXT_FIELDS}:
        return Payload(b"", content_type, headers)
    pieces = [name.encode("utf-8", "replace") + _with_equals(_to_bytes(value)) for name, value in parameters.items()]
    return Payload(b"&".join(pieces), "", headers)


def _with_equals(value: bytes) -> bytes:
    return b"=" + value if value else b""


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return json.dumps(value).encode()
