"""Write the nginx configuration of the gateway from its settings and deploy/gateway/nginx.conf.j2."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jinja2

from ops.gateway.settings import GatewaySettings
from ops.settings.server import Address

FOLDER = Path("deploy/gateway")
OPENAPI = FOLDER / "openapi.yaml"
TEMPLATE = "nginx.conf.j2"

# What is published: address -> its name in the access log. Whatever is not here does not exist.
PREDICTING = {
    "/predictions/tweets": "predict",
    "/explanations/tweets": "explain",
    "/v1/models/tweets:predict": "v1_predict",
    "/v1/models/tweets:explain": "v1_explain",
    "/v2/models/tweets/infer": "v2_infer",
}
GUARDED = {"/ready": "ready", "/live": "live"}
OPENAPI_PATH = "/openapi.yaml"
GRPC_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


@dataclass(frozen=True)
class RestError:
    """An error that the gateway writes itself.

    Args:
        status: what the client gets.
        code: its stable word.
        message: what was found and what to do.
        causes: nginx's statuses that lead here; its own ones above 490 never leave it.
        headers: further headers.
    """

    status: int
    code: str
    message: str
    causes: tuple[int, ...]
    headers: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The location that answers it."""
        if self.code == "UNAVAILABLE":
            return "@unavailable"  # the template names it, too
        return _place(self.causes[0])


# nginx raises these before it has an address, and goes to no named location without one.
EARLY = (400, 408, 414, 494, 495, 496, 497, 501)


def _place(cause: int) -> str:
    return f"/_errors/{cause}" if cause in EARLY else f"@e{cause}"


REST_ERRORS = (
    RestError(400, "BAD_REQUEST", "the request is malformed, or not over TLS", (400, 497)),
    RestError(
        401,
        "UNAUTHENTICATED",
        "no API key, or one that is not known; send the header Authorization: Bearer KEY",
        (401,),
        ("WWW-Authenticate Bearer",),
    ),
    RestError(403, "KEY_ENDED", "this API key was revoked or has expired; ask for a new one", (403,)),
    RestError(404, "NOT_FOUND", "nothing is published at this address; see /openapi.yaml", (404,)),
    RestError(
        405, "METHOD_NOT_ALLOWED", "this address takes another method; see /openapi.yaml", (405,), ("Allow $allowed",)
    ),
    RestError(408, "TOO_SLOW", "the request did not come in time", (408,)),
    RestError(
        413,
        "BODY_TOO_LARGE",
        "the body is too large; a prediction takes {max_body_bytes} bytes, split it into several",
        (413,),
    ),
    RestError(414, "ADDRESS_TOO_LONG", "the address line is too long; send the tweet in the body", (414,)),
    RestError(421, "WRONG_HOST", "this gateway does not answer to the name in the header Host", (421,)),
    RestError(429, "RATE_LIMIT", "too many requests; try again after Retry-After seconds", (429,), ("Retry-After 1",)),
    RestError(431, "HEADER_TOO_LARGE", "the header is too large", (494,)),
    RestError(403, "NO_CERTIFICATE", "expected a client certificate that this gateway trusts", (495, 496)),
    RestError(501, "NOT_IMPLEMENTED", "this transfer encoding is not known; send Content-Length or chunked", (501,)),
    RestError(
        503,
        "UNAVAILABLE",
        "the server cannot answer now; try again after Retry-After seconds",
        (503, 500, 502),
        ("Retry-After 2",),
    ),
    RestError(504, "DEADLINE", "no answer within {deadline_s} seconds; send fewer tweets at once, or later", (504,)),
)
# nginx's status -> gRPC status and message. Source: gRPC, doc/http-grpc-status-mapping.md, but 413 as gRPC's own limit.
GRPC_ERRORS = {
    400: (13, "bad request"),
    401: (16, "no API key, or one that is not known; send the metadata authorization: Bearer KEY"),
    403: (7, "this API key was revoked or has expired; ask for a new one"),
    404: (12, "nothing is published under this name"),
    408: (4, "the request did not come in time"),
    413: (8, "the message is larger than max {max_body_bytes} bytes; send fewer tweets at once"),
    421: (12, "this gateway does not answer to this authority"),
    429: (8, "too many requests; try again later"),
    495: (16, "expected a client certificate that this gateway trusts"),
    500: (14, "the server cannot answer now; try again later"),
    504: (4, "no answer in time"),
}
_GRPC_SAME = {494: 400, 497: 400, 496: 495, 405: 404, 414: 404, 502: 500, 503: 500}


def render_config(settings: GatewaySettings, root: Path) -> str:
    """Return nginx's configuration, in one piece: it can be replaced in one step.

    Args:
        settings: checked ones; what they hold is never read as a template.
        root: holds deploy/gateway/.
    """
    environment = jinja2.Environment(  # noqa: S701 (nginx configuration, no HTML; settings refuse what ends a string)
        loader=jinja2.FileSystemLoader(root / FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = {entry.name: _plain(getattr(settings, entry.name)) for entry in fields(settings)}
    return environment.get_template(TEMPLATE).render(
        **values,
        inner_timeout_s=settings.deadline_s + 5,
        is_root=os.geteuid() == 0,
        routes={**PREDICTING, **GUARDED, OPENAPI_PATH: "openapi", GRPC_METHOD: "grpc_predict"},
        read_only=(*GUARDED, OPENAPI_PATH),
        predicting=PREDICTING,
        guarded=GUARDED,
        openapi_path=OPENAPI_PATH,
        openapi=(root / OPENAPI).resolve(),
        grpc_method=GRPC_METHOD,
        errors=[_rest_error(error, settings) for error in REST_ERRORS],
        errors_grpc=[_grpc_error(cause, settings) for cause in GRPC_ERRORS],
    )


def _plain(value: object) -> object:
    return f"{value.host}:{value.port}" if isinstance(value, Address) else value


def _rest_error(error: RestError, settings: GatewaySettings) -> dict[str, Any]:
    message = error.message.format(**vars(settings))
    body = {"error": {"code": error.code, "message": message, "request_id": "$id"}}
    return {
        "place": error.place,
        "causes": error.causes,
        "headers": error.headers,
        "status": error.status,
        "body": json.dumps(body, separators=(",", ":")),
    }


def _grpc_error(cause: int, settings: GatewaySettings) -> dict[str, Any]:
    status, message = GRPC_ERRORS[cause]
    text = message.format(**vars(settings))
    return {
        "place": _place(cause),
        "causes": [cause, *(other for other, same in _GRPC_SAME.items() if same == cause)],
        "headers": (f"grpc-status {status}", f"grpc-message '{text}'", "x-request-id $id"),
    }
