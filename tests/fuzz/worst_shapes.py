"""Bodies that cost the most to read, for every form of body, of any size up to the server's limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_BODY_BYTES = 6_553_500
MULTIPART = "multipart/form-data; boundary=xyz"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
LINES = "application/x-ndjson"
PART = b'--xyz\r\nContent-Disposition: form-data; name="text"'
LONG_TEXT = "Flood water reaches the school on the hill, roof rescue under way. "


@dataclass(frozen=True)
class WorstShape:
    """One shape.

    Args:
        name: what is bad about it.
        content_type: the header.
        build: makes a body of about so many bytes, never more.
        headers: others that go with it.
    """

    name: str
    content_type: str
    build: Callable[[int], bytes]
    headers: dict[str, str] = field(default_factory=dict)


def _around(head: bytes, unit: bytes, tail: bytes) -> Callable[[int], bytes]:
    """Repeat a unit between a head and a tail."""
    return lambda size: head + unit * max(0, (size - len(head) - len(tail)) // len(unit)) + tail


def _listed(unit: str) -> Callable[[int], bytes]:
    return _around(b"[" + unit.encode(), b"," + unit.encode(), b"]")


def _tensor(data: str) -> tuple[bytes, bytes]:
    head, _, tail = f'{{"inputs":[{{"name":"text","datatype":"BYTES","shape":[-1],"data":{data}}}]}}'.partition("@")
    return head.encode(), tail.encode()


def _distinct_keys(size: int) -> bytes:
    count = max(1, size // 12)
    return ("{" + ",".join(f'"{number:07x}":0' for number in range(count)) + "}").encode()[:size]


def _dynamic_blocks(size: int) -> bytes:
    """A stream of deflate blocks with code tables and nothing else: each costs a table to build.

    Source: RFC 1951, section 3.2.7. The order of the code lengths' own lengths is fixed there.
    """
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (len(order) - 4, 4)]  # not the last, dynamic, 257 literals, 1 distance
    fields += [(int(symbol in (1, 18)), 3) for symbol in order]
    fields += [(1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1)]  # 138 and 118 zeros, two codes of one bit
    fields += [(0, 1)]  # the end of the block
    bits = width = 0
    for _ in range(8):
        for value, count in fields:
            bits |= value << width
            width += count
    unit = bits.to_bytes(width // 8, "little")
    return unit * (size // len(unit))


def _chunked_lists(size: int, text: str) -> bytes:
    """A list of at most 10,000 texts that fills the size."""
    count = 10_000
    each = max(1, size // count - 3)
    return json.dumps([(text * (each // len(text) + 1))[:each]] * count, separators=(",", ":")).encode()[: size + 1]


SHAPES: tuple[WorstShape, ...] = (
    WorstShape("header of many semicolons", MULTIPART, _around(PART, b";", b"\r\n\r\nfire\r\n--xyz--\r\n")),
    WorstShape("header of many parameters", MULTIPART, _around(PART, b";a=b", b"\r\n\r\nfire\r\n--xyz--\r\n")),
    WorstShape("header with open quotes", MULTIPART, _around(PART, b';a="', b"\r\n\r\nfire\r\n--xyz--\r\n")),
    WorstShape("header of many words", MULTIPART, _around(PART[:-1], b" a", b'"\r\n\r\nfire\r\n--xyz--\r\n')),
    WorstShape("header that is folded", MULTIPART, _around(PART, b"\r\n x", b"\r\n\r\nfire\r\n--xyz--\r\n")),
    WorstShape("many headers", MULTIPART, _around(PART, b"\r\nX: y", b"\r\n\r\nfire\r\n--xyz--\r\n")),
    WorstShape("header without an end", MULTIPART, _around(PART, b"a", b"")),
    WorstShape("many empty parts", MULTIPART, _around(b"", b"--xyz\r\n\r\n\r\n", b"--xyz--\r\n")),
    WorstShape("many parts", MULTIPART, _around(b"", PART + b"\r\n\r\n\r\n", b"--xyz--\r\n")),
    WorstShape(
        "as many headers as are read",
        MULTIPART,
        lambda size: (
            b"".join(
                b"--xyz\r\n"
                + b"".join(b"%s: x; name=f" % name + b';a="' * 230 + b"\r\n" for name in names)
                + b"\r\n\r\n"
                for names in [(b"Content-Disposition", b"Content-Type", b"X", b"Y")] * 16
            )
            + b"--xyz--\r\n"
        )[:size],
    ),
    WorstShape("text of nearly boundaries", MULTIPART, _around(PART + b"\r\n\r\n", b"\r\n--xy", b"\r\n--xyz--\r\n")),
    WorstShape("text of line breaks", MULTIPART, _around(PART + b"\r\n\r\n", b"\r\n", b"\r\n--xyz--\r\n")),
    WorstShape(
        "boundary of one letter", f"multipart/form-data; boundary={'-' * 70}", _around(b"--" + b"-" * 70, b"-", b"")
    ),
    WorstShape("content type of quotes", "multipart/form-data" + ';a="' * 250, _around(b"", b"a", b"")),
    WorstShape("many &", FORM, _around(b"", b"&", b"")),
    WorstShape("many =", FORM, _around(b"text", b"=", b"")),
    WorstShape("many %", FORM, _around(b"text=", b"%", b"")),
    WorstShape("many escapes", FORM, _around(b"text=", b"%41", b"")),
    WorstShape("many escapes, no field", FORM, _around(b"", b"%C3%A9", b"")),
    WorstShape("many +", FORM, _around(b"text=", b"+", b"")),
    WorstShape("many fields", FORM, _around(b"text=fire", b"&a=b", b"")),
    WorstShape("many fields, typed", FORM, _around(b"text=the fire", b"&id=b", b"")),
    WorstShape("many fields in a link", FORM, _around(b"text=a http://x/?", b"&a=b", b"")),
    WorstShape("fields with many &", FORM, _around(b"", b"a=b&&&&&&&&", b"text=the fire")),
    WorstShape("one field many times", FORM, _around(b"a=b", b"&text=a", b"")),
    WorstShape("JSON list in a form", FORM, _around(b"text=%5B%22a%22", b"%2C%22a%22", b"%5D")),
    WorstShape("many [", JSON, _around(b"", b"[", b"")),
    WorstShape("many [] in a list", JSON, _listed("[]")),
    WorstShape("many {} in a list", JSON, _listed("{}")),
    WorstShape("lists 900 deep", JSON, _listed("[" * 900 + "]" * 900)),
    WorstShape("objects 900 deep", JSON, _listed('{"a":' * 900 + "0" + "}" * 900)),
    WorstShape("many numbers", JSON, _listed("1")),
    WorstShape("many fractions", JSON, _listed("1.1")),
    WorstShape("many NaN", JSON, _listed("NaN")),
    WorstShape("many empty strings", JSON, _listed('""')),
    WorstShape("as many values as are read", JSON, lambda size: _listed('{"":0}')(min(size, 690_000))),
    WorstShape("as many lists as are read", JSON, lambda size: _listed("[]")(min(size, 290_000))),
    WorstShape("an integer of all digits", JSON, _around(b"[", b"9", b"]")),
    WorstShape("integers of 4,300 digits", JSON, _listed("9" * 4300)),
    WorstShape("integers of 300 digits", JSON, _listed("9" * 300)),
    WorstShape("a fraction of all digits", JSON, _around(b"[0.", b"9", b"]")),
    WorstShape(
        "ids of 300 digits", JSON, lambda size: _listed('{"text":"a","id":%s}' % ("9" * 300))(min(size, 3_100_000))
    ),
    WorstShape("an id of all digits", JSON, _around(b'{"text":"fire","id":', b"9", b"}")),
    WorstShape("many keys", JSON, _distinct_keys),
    WorstShape("one key many times", JSON, _around(b'{"text":"a"', b',"text":"a"', b"}")),
    WorstShape("escapes in a string", JSON, _around(b'["', b"\\u0041", b'"]')),
    WorstShape("surrogates in a string", JSON, _around(b'["', b"\\ud83d", b'"]')),
    WorstShape("a string of quotes", JSON, _around(b'["', b'\\"', b'"]')),
    WorstShape("a string without an end", JSON, _around(b'["', b"\\\\", b"")),
    WorstShape("a text of one letter", "text/plain", _around(b"", b"a", b"")),
    WorstShape("a text of spaces", "", _around(b"", b" ", b"")),
    WorstShape("a text of [ and spaces", "", _around(b"[", b" ", b"")),
    WorstShape("quoted lines", "", _around(b"", b'""\n', b"")),
    WorstShape("a text of NUL", "text/plain", _around(b"a", b"\x00", b"")),
    WorstShape("a text of byte-order marks", "", _around(b"", b"\xef\xbb\xbf", b"")),
    WorstShape("empty lines", LINES, _around(b"", b"\n", b"a")),
    WorstShape("10,000 empty lines", LINES, lambda size: b"\n" * min(size, 9_999) + b"a"),
    WorstShape("lines of lists", LINES, lambda size: (b"[" + b"1," * max(1, size // 20_000 - 3) + b"1]\n") * 9_999),
    WorstShape("lines of [", LINES, lambda size: (b"[" * max(1, size // 10_000 - 1) + b"\n") * 9_999),
    WorstShape("gzip bomb", JSON, lambda size: gzip.compress(b"[" * (size * 20), 1), {"Content-Encoding": "gzip"}),
    WorstShape("gzip of nothing, often", JSON, _around(b"", gzip.compress(b""), b""), {"Content-Encoding": "gzip"}),
    WorstShape("deflate of tables", "", _dynamic_blocks, {"Content-Encoding": "deflate"}),
    WorstShape(
        "deflate of tables, as many as are read",
        "",
        lambda size: _dynamic_blocks(min(size, 2 << 20)),
        {"Content-Encoding": "deflate"},
    ),
    WorstShape(
        "gzip of many values",
        JSON,
        lambda size: gzip.compress(_listed("[]")(min(size, 290_000)), 6),
        {"Content-Encoding": "gzip"},
    ),
    WorstShape(
        "deflate of lists 900 deep",
        JSON,
        lambda size: zlib.compress(_listed("[" * 900 + "]" * 900)(size), 1),
        {"Content-Encoding": "deflate"},
    ),
    WorstShape("tensor of empty rows", JSON, lambda size: _around(*_wrap("[]"))(size)),
    WorstShape("tensor of rows", JSON, lambda size: _around(*_wrap('["a"]'))(size)),
    WorstShape("tensor 900 deep", JSON, lambda size: _around(*_wrap("[" * 900 + '"a"' + "]" * 900))(size)),
    WorstShape("many tensors", JSON, _around(b'{"inputs":[{}', b",{}", b"]}")),
    WorstShape("many outputs", JSON, _around(b'{"inputs":[],"outputs":[{}', b",{}", b"]}")),
    WorstShape("10,000 texts of emoji", JSON, lambda size: _texts(size, "\U0001f525")),
    WorstShape("10,000 texts of nested entities", JSON, lambda size: _chunked_lists(size, "&amp;amp;")),
    WorstShape("10,000 texts of U+FDFA", JSON, lambda size: _texts(size, "\ufdfa")),
    WorstShape("10,000 long texts", JSON, lambda size: _chunked_lists(size, LONG_TEXT)),
    WorstShape("texts of 10,000 U+FDFA", JSON, lambda size: _full_texts(size, "\ufdfa")),
    WorstShape("texts of 10,000 &", JSON, lambda size: _full_texts(size, "&")),
    WorstShape("texts of 10,000 #Aa", JSON, lambda size: _full_texts(size, "#Aa")),
    WorstShape("texts of 10,000 marks", JSON, lambda size: _full_texts(size, "\u0301\u0489")),
    WorstShape("texts of 10,000 mojibake", JSON, lambda size: _full_texts(size, "\u00c3\u00a9")),
)


def _wrap(element: str) -> tuple[bytes, bytes, bytes]:
    head, tail = _tensor("[@]")
    return head + element.encode(), b"," + element.encode(), tail


def _texts(size: int, letter: str) -> bytes:
    each = max(1, (size // 10_000 - 3) // len(letter.encode()))
    return json.dumps([letter * each] * 10_000, ensure_ascii=False, separators=(",", ":")).encode()


def _full_texts(size: int, unit: str) -> bytes:
    """Texts of the greatest length that is read, as many as fit."""
    text = (unit * 10_000)[:10_000]
    count = max(1, (size - 2) // (len(text.encode()) + 3))
    return json.dumps([text] * count, ensure_ascii=False, separators=(",", ":")).encode()
