"""Requests as nobody would write them, drawn by hypothesis; the good ones among which they are sent are elsewhere.

Long bodies are drawn as a recipe (a seed, a length), not byte by byte: hypothesis has some kilobytes of choices for an
example, and those are better spent on the form of a request than on its filling.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.worst_shapes import SHAPES

PATH = "/predictions/tweets"
PATHS = (
    PATH,
    PATH,
    PATH,
    "/v1/models/tweets:predict",
    "/v2/models/tweets/infer",
    "/predictions/tweets/",
    "/invocations",
)
WRONG_PATHS = (
    *("/predictions/nobody", "/predictions/tweets/9.9", "/predictions", "/", "//", "/predictions/%zz", "/%00"),
    *("/v1/models/nobody:predict", "/v2/models/tweets", "/v2/models//infer", "/predictions/../models", "/\u00e9"),
    *("/predictions/tweets;jsessionid=1", "/predictions/tweets#x", "/explanations/tweets", "/v1/models/tweets:explain"),
    *("/ping", "/api-description", "/predictions/tweets?text=fire", "/models/tweets/invoke"),
)
CONTENT_TYPES = (
    *("", "text/plain", "text/plain; charset=utf-16", "application/json", "APPLICATION/JSON; charset=latin-1"),
    *(
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=xyz",
        "multipart/form-data",
        "multipart/mixed",
    ),
    *("application/x-ndjson", "application/jsonl", "application/octet-stream", "application/x-protobuf", "image/png"),
    *("text/plain; charset=iso-2022-jp", "application/ndjson", "text/csv", "application/json; charset=windows-1252"),
    *("application/xml", "*/*", ";;;", "application/json, text/plain", "text/html; charset=\x01", "a" * 300),
)
METHODS = ("POST", "POST", "POST", "POST", "PUT", "GET", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "FIRE")
SCRAPS = (
    *("Flood water at the mill", "\x00", "\ufeff", "\u202e", "\u200b", "\u0301" * 40, "\U0001f525" * 30, "\ud83d"),
    *("&amp;" * 9, "&#x26;" * 9, "&lt;b&gt;", "%25", "%zz", "text=", "&text=", "data=", "id=7&", "+", "=", "&"),
    *("\u0632\u0644\u0632\u0627\u0644", "\u5730\u9707", "\u00c3\u00a9\u00e2\u20ac\u2122", "@user", "https://t.co/x"),
    *("#WildFireNow", "\\", '"', "'", "\r\n", "\n\n", "\t", "a" * 300, "\U000e0041", "\u0fdf\ufdfa", "9" * 400),
    *("{", "[", '{"text":', '["', "null", "NaN", "-Infinity", "1e999", "\ud800\udc00", "\u0489", "--xyz\r\n", "\ufffe"),
)
# Values that JSON knows and a tweet is not, and some that Python's json knows and JSON does not.
RAW_VALUES = (
    *("null", "true", "0", "-0.0", "1e999", "NaN", "Infinity", '""', "[]", "{}", "9" * 5000, '"\\ud83d"', '"\\u0000"'),
    *('"\\uDC00\\uD83D"', '{"text":null}', '{"text":[]}', '{"text":"x","text":5}', '{"text":5,"text":"fire in town"}'),
    *('{"text":"x","id":{}}', '{"text":"x","id":NaN}', '{"text":"x","keyword":1}', '{"inputs":[]}', '{"instances":{}}'),
)
NEST_DEPTHS = (3, 100, 1_000, 20_000, 100_000)


@dataclass(frozen=True)
class DrawnRequest:
    """One request.

    Args:
        kind: what about it was drawn, for the counts of a report.
        raw: when set, these bytes are sent as they are and the rest is ignored.
        half_close: of a raw one: the sender says that no more will come.
    """

    kind: str
    method: str = "POST"
    path: str = PATH
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    raw: bytes | None = None
    half_close: bool = False


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _random_bytes(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def _damage(data: bytes, seed: int, wounds: int) -> bytes:
    """Cut, double, swap and flip bytes of a body that was right."""
    draw = random.Random(seed)
    wounded = bytearray(data)
    for _ in range(wounds):
        if not wounded:
            break
        at = draw.randrange(len(wounded))
        what = draw.randrange(4)
        if what == 0:
            wounded[at] ^= 1 << draw.randrange(8)
        elif what == 1:
            del wounded[at : at + draw.randrange(1, 9)]
        elif what == 2:
            wounded[at:at] = wounded[at : at + draw.randrange(1, 9)]
        else:
            wounded[at] = draw.choice(b'\x00"{}[]\\&=%,:\xff\xc3')
    return bytes(wounded)


SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.sampled_from((0, 1, 2, 7, 60, 400, 3_000, 40_000))
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(SCRAPS), min_size=1, max_size=6).map("".join),
    st.builds(lambda scrap, times: scrap * times, st.sampled_from(SCRAPS), st.sampled_from((1, 30, 300))),
    st.text(st.characters(categories=("Cs", "Mn", "So", "Cf", "Co", "Cn", "Nd")), max_size=30),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(("text", "id", "data", "inputs", "instances", "keyword", "\x00")), inner, max_size=4
        ),
    ),
    max_leaves=8,
)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()  # NaN is written as NaN, and lone surrogates as escapes


def _nested(depth: int, opening: str, inside: str, closed: bool) -> bytes:
    closing = {"[": "]", '{"text":': "}", '{"instances":[': "]}"}[opening]
    return (opening * depth + inside + (closing * depth if closed else "")).encode()


def _v1(instances: Any) -> dict[str, Any]:
    return {"instances": instances}


def _v2(data: Any, datatype: str, shape: Any, request_id: Any) -> dict[str, Any]:
    return {"id": request_id, "inputs": [{"name": "text", "datatype": datatype, "shape": shape, "data": data}]}


def _multipart(fields: list[tuple[str, str]], closed: bool) -> bytes:
    parts = [f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    return _encode("".join(parts) + ("--xyz--\r\n" if closed else ""))


GOOD_BODIES = (
    *(b"Dam breaks above the town", b'{"text": "Dam breaks above the town", "id": 7}', b'["a fire", "a song"]'),
    *(b'{"instances": ["Dam breaks", {"text": "a song"}]}', b"text=Dam+breaks&id=7", b"Dam breaks\na song\n"),
    b'{"id": "a", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["fire", "song"]}]}',
)
NAMES = st.sampled_from(("text", "data", "body", "id", "keyword", "location", "\u00e9", "", "text[]", 'te"xt', "\r\n"))
BODIES: dict[str, st.SearchStrategy[bytes]] = {
    "random bytes": st.builds(_random_bytes, SEEDS, LENGTHS),
    "text": TEXTS.map(_encode),
    "damaged": st.builds(_damage, st.sampled_from(GOOD_BODIES), SEEDS, st.integers(1, 9)),
    "json value": VALUES.map(_json),
    "raw json": st.sampled_from(RAW_VALUES).map(str.encode),
    "raw json list": st.lists(st.sampled_from(RAW_VALUES), max_size=6).map(lambda raw: f"[{','.join(raw)}]".encode()),
    "nested": st.builds(
        _nested,
        st.sampled_from(NEST_DEPTHS),
        st.sampled_from(("[", '{"text":', '{"instances":[')),
        st.sampled_from(("", "1", '"fire"', "NaN")),
        st.booleans(),
    ),
    "v1": st.builds(_v1, st.one_of(VALUES, st.lists(VALUES, max_size=4))).map(_json),
    "v2": st.builds(
        _v2,
        st.one_of(VALUES, st.lists(TEXTS, max_size=4)),
        st.sampled_from(("BYTES", "FP32", "bytes", "")),
        st.one_of(st.just([1]), VALUES),
        st.one_of(st.none(), TEXTS, st.integers()),
    ).map(_json),
    "lines": st.lists(st.one_of(TEXTS.map(_encode), VALUES.map(_json)), max_size=6).map(b"\n".join),
    "urlencoded": st.lists(st.tuples(NAMES, TEXTS), max_size=4).map(
        lambda pairs: b"&".join(_encode(name) + b"=" + _encode(value) for name, value in pairs)
    ),
    "multipart": st.builds(_multipart, st.lists(st.tuples(NAMES, TEXTS), max_size=3), st.booleans()),
    "utf-16 and others": st.builds(
        lambda text, codec: text.encode(codec, "replace"),
        TEXTS,
        st.sampled_from(("utf-16", "utf-32", "latin-1", "utf-7", "cp1252", "shift_jis")),
    ),
    "many items": st.builds(
        lambda scrap, times: _json([scrap] * times),
        st.sampled_from(("", "a fire", "\x00")),
        st.sampled_from((64, 10_001)),
    ),
}
# Values a header may carry over HTTP/1.1; what it may not is sent raw.
HEADER_VALUES = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40),
    st.sampled_from(("", "0", "-1", "True", "NaN", "1e999", "a" * 4000, "9" * 30)),
)


def _content_headers(content_type: str) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", content_type),) if content_type else ()


# The costliest shapes of each form, small enough for hundreds of them; FUZZ_WORST_BYTES takes them up to the limit.
WORST_BYTES = int(os.environ.get("FUZZ_WORST_BYTES", "200000"))
WORST = st.builds(
    lambda shape, size: DrawnRequest(
        "worst bodies",
        headers=(*_content_headers(shape.content_type), *shape.headers.items()),
        body=shape.build(size),
    ),
    st.sampled_from([shape for shape in SHAPES if not shape.name.startswith("10,000 texts")]),
    st.sampled_from((1_000, 30_000, WORST_BYTES)),
)
HEADER_NAMES = st.sampled_from(
    (
        *("x-deadline-ms", "x-request-id", "explain", "describe", "Authorization", "Cookie", "Accept", "Origin"),
        *("Content-Encoding", "X-Forwarded-For", "traceparent", "Range", "If-None-Match", "Upgrade", "body", "text"),
    )
)


def _with_body(kind: str, bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[DrawnRequest]:
    return st.builds(
        lambda body, path, content_type: DrawnRequest(kind, "POST", path, _content_headers(content_type), body),
        bodies,
        st.sampled_from(PATHS),
        st.sampled_from(CONTENT_TYPES),
    )


def _with_headers(
    method: str, path: str, headers: list[tuple[str, str]], content_type: str, body: bytes
) -> DrawnRequest:
    return DrawnRequest("headers, methods, addresses", method, path, (*headers, *_content_headers(content_type)), body)


def _raw(build: Callable[..., bytes], *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[DrawnRequest]:
    return st.builds(
        lambda raw, half_close: DrawnRequest("broken http", raw=raw, half_close=half_close),
        st.builds(build, *parts),
        st.booleans(),
    )


def _wrong_length(body: bytes, length: str, head: str) -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {length}\r\n\r\n".encode("latin-1") + body


def _chunked(size: str, body: bytes, head: str) -> bytes:
    start = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{head}Transfer-Encoding: chunked\r\n\r\n{size}\r\n"
    return start.encode("latin-1") + body + b"\r\n0\r\n\r\n"


SMALL_BODIES = st.sampled_from(
    (b"", b"fire", b"Dam breaks above the town", b"\x00" * 50, b"GET /ping HTTP/1.1\r\n\r\n")
)
EXTRA_HEADS = st.sampled_from(
    (
        *("", "Content-Length: 4\r\n", "Transfer-Encoding: identity\r\n", "X: \xff\r\n", "no colon\r\n", " folded\r\n"),
        *("Expect: 100-continue\r\n", "Host: evil.example\r\n", "Connection: close, keep-alive\r\n", "\x00: x\r\n"),
    )
)
BROKEN_HTTP = st.one_of(
    _raw(
        _wrong_length,
        SMALL_BODIES,
        st.sampled_from(("0", "3", "4", "5", "25", "999", "-1", "4, 4", "0x4", "+4", "4 4", "", "9" * 25, "\u00b2")),
        EXTRA_HEADS,
    ),
    _raw(
        _chunked,
        st.sampled_from(("4", "zz", "-1", "FFFFFFFFFF", "4;x=y", "4;\xff", "", "0")),
        SMALL_BODIES,
        EXTRA_HEADS,
    ),
    _raw(_random_bytes, SEEDS, st.sampled_from((1, 50, 5_000))),
    _raw(
        _damage,
        st.just(
            b"POST /predictions/tweets HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 4\r\n\r\nfire"
        ),
        SEEDS,
        st.integers(1, 6),
    ),
)
REQUESTS: st.SearchStrategy[DrawnRequest] = st.one_of(
    *(_with_body(kind, bodies) for kind, bodies in BODIES.items()),
    st.builds(
        _with_headers,
        st.sampled_from(METHODS),
        st.sampled_from((*PATHS, *WRONG_PATHS)),
        st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=4),
        st.sampled_from(CONTENT_TYPES),
        TEXTS.map(_encode),
    ),
    BROKEN_HTTP,
    WORST,
)
