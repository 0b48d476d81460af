"""The body of one request out of the parameters and headers that a server hands over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tweetclf.content import field_name
from tweetclf.errors import InvalidRequestError
from tweetclf.form import OTHER_FIELDS, TEXT_FIELDS

# Parameters of an address that say where a request goes: `/invocations?model_name=tweets`.
_ROUTING_NAMES = ("model_name", "model_version")


@dataclass(frozen=True)
class Payload:
    """One request as it came over the wire.

    Args:
        body: raw bytes.
        content_type: header value with its parameters, or "".
        headers: names in lower case -> values; empty over gRPC.
        fields: what came beside the body: `id`, `keyword`, `location` of a gRPC call.
    """

    body: bytes
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, bytes] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """Return a header's value by its name in lower case."""
        return self.headers.get(name)

    @property
    def is_grpc_open_inference(self) -> bool:
        """Tell whether this is a gRPC call of Open Inference, whose texts TorchServe has turned into base64.

        It alone has a content type and no header. Source: TorchServe 0.12, OpenInferenceProtocolImpl.modelInfer.
        """
        return not self.headers and self.content_type == "application/json"


def read_payload(parameters: Mapping[str, Any], raw_headers: Mapping[str, Any] | None) -> Payload:
    """Find the body among a server's parameters.

    Args:
        parameters: name -> value, bytes as a rule; str, dict or list where the server decoded it.
        raw_headers: name -> value; TorchServe mixes in one mapping a parameter, under its name.

    Returns:
        The body, and the fields beside it.

    Raises:
        InvalidRequestError: WRONG_TYPE, there is no body, or there are parameters that are not read here: each could
            be the text under a name that was mistaken.
    """
    raw_headers = raw_headers or {}
    headers = {str(name).lower(): value for name, value in raw_headers.items() if isinstance(value, str)}
    content_type = headers.get("content-type", "")
    bodies = [name for name in ("body", *TEXT_FIELDS[:-1]) if name in parameters]
    unknown = [name for name in parameters if name not in (*TEXT_FIELDS, *OTHER_FIELDS, *_ROUTING_NAMES)]
    if len(bodies) > 1 or unknown or (parameters and not bodies):
        raise _wrong_parameters(list(parameters))
    if not bodies:
        return Payload(b"", content_type, headers)
    name = bodies[0]
    body = _to_bytes(parameters[name])
    if not body and len(parameters) > 1:
        raise _wrong_parameters([other for other in parameters if other != name], "the body is empty, and ")
    own = raw_headers.get(name)
    own_type = str(own.get("content-type", "")) if isinstance(own, Mapping) else ""
    if name != "body":  # a field of a form: the request's type says nothing of it
        content_type = own_type
    fields = {other: _to_bytes(parameters[other]) for other in OTHER_FIELDS if other in parameters}
    return Payload(body, content_type or own_type, headers, fields)


def _wrong_parameters(names: list[str], found: str = "") -> InvalidRequestError:
    listed = ", ".join(field_name(str(name)) for name in names[:5])
    return InvalidRequestError(
        "WRONG_TYPE",
        f"{found}the request has {len(names)} parameters ({listed}); expected the tweet in the body or, over gRPC, in "
        "one parameter 'data', 'text' or 'body', with 'id', 'keyword' and 'location' if wanted",
    )


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return json.dumps(value).encode()
