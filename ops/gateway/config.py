"""Write the nginx configuration of the gateway from its settings and the templates in deploy/gateway/."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from ops.gateway.settings import GatewaySettings
from ops.settings.server import Address

TEMPLATES = Path("deploy/gateway")
OPENAPI = TEMPLATES / "openapi.yaml"
MAIN = "nginx.conf"
_MARK = re.compile(r"@([a-z_]+)@")

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
        "the body is too large; a prediction takes @max_body_bytes@ bytes, split it into several",
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
    RestError(504, "DEADLINE", "no answer within @deadline_s@ seconds; send fewer tweets at once, or later", (504,)),
)
# nginx's status -> gRPC status and message. Source: gRPC, doc/http-grpc-status-mapping.md, but 413 as gRPC's own limit.
GRPC_ERRORS = {
    400: (13, "bad request"),
    401: (16, "no API key, or one that is not known; send the metadata authorization: Bearer KEY"),
    403: (7, "this API key was revoked or has expired; ask for a new one"),
    404: (12, "nothing is published under this name"),
    408: (4, "the request did not come in time"),
    413: (8, "the message is larger than max @max_body_bytes@ bytes; send fewer tweets at once"),
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
        settings: checked ones.
        root: holds deploy/gateway/.
    """
    text = _template(root, MAIN)
    # Each may hold marks of those after it.
    parts = {
        "rest_servers": _rest_servers(settings),
        "grpc_servers": _grpc_servers(settings, root),
        "inner_location": _template(root, "inner_location.conf"),
        "outer_location": _template(root, "outer_location.conf"),
        "errors": _rest_errors(),
        "errors_grpc": _grpc_errors(),
    }
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return _fill(text, {**_values(settings), "openapi": str((root / OPENAPI).resolve())})


def _template(root: Path, name: str) -> str:
    return (root / TEMPLATES / f"{name}.template").read_text(encoding="utf-8")


def _values(settings: GatewaySettings) -> dict[str, str]:
    values = {entry.name: _text(getattr(settings, entry.name)) for entry in fields(settings)}
    values["inner_timeout_s"] = str(settings.deadline_s + 5)
    # As root nginx would hand its workers to another user, who cannot reach the sockets; containers have no root.
    names = {**PREDICTING, **GUARDED, OPENAPI_PATH: "openapi", GRPC_METHOD: "grpc_predict"}
    values["routes"] = "\n".join(f"        {path} {name};" for path, name in names.items())
    values["read_only"] = "\n".join(f"        {path} GET;" for path in (*GUARDED, OPENAPI_PATH))
    values["user"] = "user root;" if os.geteuid() == 0 else ""
    # Optional in the handshake, since probes of /ready and /live have none; the other locations require it.
    values["client_certificates"] = (
        f'ssl_client_certificate "{settings.client_ca}";\n    ssl_verify_client optional;\n    ssl_verify_depth 2;'
        if settings.client_ca
        else "ssl_verify_client off;"
    )
    values["require_certificate"] = "if ($ssl_client_verify != SUCCESS) { return 496; }" if settings.client_ca else ""
    proxies = [f"    set_real_ip_from {network};\n" for network in settings.trusted_proxies]
    forwarded = "    real_ip_header X-Forwarded-For;\n    real_ip_recursive on;"
    values["trusted_proxies"] = "".join(proxies) + forwarded if proxies else ""
    return values


def _text(value: object) -> str:
    return f"{value.host}:{value.port}" if isinstance(value, Address) else str(value)


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each `@name@` of a template by its value, once; a value is not read as a template."""
    return _MARK.sub(lambda found: values[found[1]], template)


def _rest_errors() -> str:
    lines = [f"error_page {' '.join(map(str, error.causes))} = {error.place};" for error in REST_ERRORS]
    for error in REST_ERRORS:
        body = {"error": {"code": error.code, "message": error.message, "request_id": "$id"}}
        headers = [*error.headers, "X-Request-Id $id"]
        lines.append(
            _error_location(
                error.place, "application/json", headers, error.status, json.dumps(body, separators=(",", ":"))
            )
        )
    return "\n".join(lines) + "\n"


def _grpc_errors() -> str:
    lines = [f"error_page {cause} = {_place(cause)};" for cause in GRPC_ERRORS]
    lines += [f"error_page {cause} = {_place(same)};" for cause, same in _GRPC_SAME.items()]
    for cause, (status, message) in GRPC_ERRORS.items():
        headers = [f"grpc-status {status}", f"grpc-message '{message}'", "x-request-id $id"]
        lines.append(_error_location(_place(cause), "application/grpc", headers, 200, ""))
    return "\n".join(lines) + "\n"


def _error_location(place: str, content_type: str, headers: list[str], status: int, body: str) -> str:
    head = f"location {place} {{\n" if place.startswith("@") else f"location = {place} {{\n    internal;\n"
    written = "".join(f"    add_header {header} always;\n" for header in headers)
    return f"{head}    default_type {content_type};\n{written}    return {status} '{body}';\n}}"


_AUTH = """    location = /_auth {
        internal;
        proxy_pass http://guard/auth;
        proxy_method GET;
        proxy_pass_request_body off;
        proxy_set_header Host localhost;
        proxy_set_header Connection "";
        proxy_set_header Content-Length "";
        proxy_set_header Transfer-Encoding "";
        proxy_set_header Authorization $presented_key;
        proxy_set_header X-Deadline-Ms $asked_deadline_ms;
        proxy_read_timeout 5s;
    }
"""


_READ_ONLY = """        if ($request_method !~ ^(GET|HEAD)$) { return 405; }
        set $args "";
        limit_req zone=address burst=@address_burst@ nodelay;
"""


# A client's body stays here: no byte of it may be read as a question to the guard. One `proxy_set_header` ends the
# inheritance of all, so the others are said again.
_BODILESS = """        client_max_body_size 1k;
        proxy_method GET;
        proxy_pass_request_body off;
        proxy_set_header Host localhost;
        proxy_set_header Connection close;
        proxy_set_header Content-Length "";
        proxy_set_header Transfer-Encoding "";
        proxy_set_header X-Request-Id $id;
"""


def _rest_servers(settings: GatewaySettings) -> str:
    blocks = [
        f"    location = {path} {{\n        @outer_location@\n        proxy_pass http://inner{path};\n    }}\n"
        for path in PREDICTING
    ]
    for path in GUARDED:
        blocks.append(
            f"    location = {path} {{\n{_READ_ONLY}{_BODILESS}        proxy_pass http://guard_public{path};\n"
            "        proxy_read_timeout 30s;\n        add_header X-Request-Id $id always;\n"
            "        add_header Cache-Control no-store always;\n    }\n"
        )
    blocks.append(
        f"    location = {OPENAPI_PATH} {{\n{_READ_ONLY}        @require_certificate@\n"
        "        default_type application/yaml;\n"
        '        alias "@openapi@";\n        add_header X-Request-Id $id always;\n    }\n'
    )
    blocks.append("    location / { return 404; }\n")
    own = _server("@rest_address@ ssl", settings, "errors", _AUTH + "".join(blocks))
    return own + _foreign("@rest_address@ ssl", settings, "errors")


def _grpc_servers(settings: GatewaySettings, root: Path) -> str:
    if settings.grpc_address is None:
        return ""
    published, _, inner = _template(root, "grpc.conf").partition("# ---\n")
    published = published.replace("@grpc_method@", GRPC_METHOD)
    own = _server("@grpc_address@ ssl http2", settings, "errors_grpc", _AUTH + published)
    return own + _foreign("@grpc_address@ ssl http2", settings, "errors_grpc") + inner


def _server(listen: str, settings: GatewaySettings, errors: str, content: str) -> str:
    if settings.host_names:
        head = f"server {{\n    listen {listen};\n    server_name {' '.join(settings.host_names)};\n"
    else:
        head = f"server {{\n    listen {listen} default_server;\n    server_name _;\n"
    return f"{head}@{errors}@\n{content}}}\n"


def _foreign(listen: str, settings: GatewaySettings, errors: str) -> str:
    """Answer those who call this machine by a name that is not its own."""
    if not settings.host_names:
        return ""
    head = f"server {{\n    listen {listen} default_server;\n    server_name _;\n@{errors}@\n"
    return f"{head}    location / {{ return 421; }}\n}}\n"
