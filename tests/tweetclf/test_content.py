"""Content type, content encoding and character set: honoured or refused by name, never ignored."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tweetclf.content import MAX_BODY_BYTES, MAX_PACKED_BYTES, decode, read_content_type, unpack
from tweetclf.errors import InvalidRequestError

TWEET = "Caf\u00e9 f\u00fcr Helfer: der Damm h\u00e4lt"


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (None, b"Dam breaks"),
        ("", b"Dam breaks"),
        ("identity", b"Dam breaks"),
        ("gzip", gzip.compress(b"Dam breaks", mtime=0)),
        ("GZIP, identity", gzip.compress(b"Dam breaks", mtime=0)),
        ("x-gzip", gzip.compress(b"Dam", mtime=0) + gzip.compress(b" breaks", mtime=0)),
        ("deflate", zlib.compress(b"Dam breaks")),
        ("deflate", raw_deflate(b"Dam breaks")),
    ],
)
def test_unpack_of_a_known_encoding_gives_the_body(coding: str | None, packed: bytes) -> None:
    assert unpack(packed, coding) == b"Dam breaks"


@given(st.binary(max_size=3_000))
def test_unpack_of_any_packed_body_gives_it_back(body: bytes) -> None:
    assert unpack(gzip.compress(body, mtime=0), "gzip") == body
    assert unpack(zlib.compress(body), "deflate") == body
    assert unpack(raw_deflate(body), "deflate") == body


PACKED = gzip.compress(b"Dam breaks above the town", mtime=0)


@pytest.mark.parametrize(
    ("coding", "packed", "code"),
    [
        ("br", PACKED, "UNSUPPORTED_ENCODING"),
        ("zstd", PACKED, "UNSUPPORTED_ENCODING"),
        ("gzip, gzip", gzip.compress(PACKED, mtime=0), "UNSUPPORTED_ENCODING"),
        ("deflate, gzip", PACKED, "UNSUPPORTED_ENCODING"),
        ("utf-8", b"Dam", "UNSUPPORTED_ENCODING"),
        ("gzip", b"Dam breaks", "BAD_ENCODING"),
        ("gzip", PACKED[:-9], "BAD_ENCODING"),
        ("gzip", PACKED[:-1] + b"\x01", "BAD_ENCODING"),
        ("gzip", PACKED[:15] + b"\xff" + PACKED[16:], "BAD_ENCODING"),
        ("gzip", PACKED + b"rest", "BAD_ENCODING"),
        ("gzip", gzip.compress(b"", mtime=0) * 100, "BAD_ENCODING"),
        ("gzip", b"", "BAD_ENCODING"),
        ("deflate", b"Dam breaks", "BAD_ENCODING"),
        ("deflate", zlib.compress(b"Dam") + b"rest", "BAD_ENCODING"),
        ("deflate", PACKED, "BAD_ENCODING"),
        ("gzip", gzip.compress(b"\x00" * (MAX_BODY_BYTES + 1)), "BODY_TOO_LARGE"),
        ("gzip", gzip.compress(b"\x00" * (MAX_BODY_BYTES // 8)) * 9, "BODY_TOO_LARGE"),
        ("deflate", zlib.compress(b"\x00" * (50 << 20)), "BODY_TOO_LARGE"),
        ("gzip", b"\x00" * (MAX_PACKED_BYTES + 1), "BODY_TOO_LARGE"),
    ],
    ids=range(19),
)
def test_unpack_of_what_is_no_packed_body_is_refused_by_name(coding: str, packed: bytes, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        unpack(packed, coding)
    assert caught.value.code == code
    assert "Dam" not in caught.value.message


def test_unpack_of_as_much_as_an_unpacked_body_may_have_is_read() -> None:
    assert len(unpack(gzip.compress(b"a" * MAX_BODY_BYTES, mtime=0), "gzip")) == MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        ('"utf-8"', "utf-8"),
        ("iso-8859-1", "latin-1"),
        ("Windows-1252", "cp1252"),
    ],
)
def test_decode_with_the_charset_of_the_content_type_gives_the_text(charset: str, codec: str) -> None:
    media_type, _, found = read_content_type(f"Text/Plain; charset={charset}; format=flowed")
    assert (media_type, found) == ("text/plain", codec)
    assert decode(TWEET.encode(codec), found) == TWEET


@pytest.mark.parametrize(
    "charset",
    ["iso-2022-jp", "utf-7", "hz-gb-2312", "utf-16", "utf-32", "shift_jis", "gbk", "ebcdic-cp-us", "none", "idna", "'"],
)
def test_read_content_type_with_another_charset_is_refused_by_its_name(charset: str) -> None:
    with pytest.raises(InvalidRequestError, match=charset) as caught:
        read_content_type(f"text/plain; charset={charset}")
    assert (caught.value.code, caught.value.http_status) == ("UNSUPPORTED_CHARSET", 415)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; charset",
        "text/plain; charset=",
        'text/plain; charset="utf-16',
        "text/plain; charset=utf-8; charset=utf-16",
        "text/plain, charset=utf-16",
        "text/plain; charset*=utf-8''utf-16",
    ],
)
def test_read_content_type_with_a_charset_that_is_not_clear_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_content_type(content_type)
    assert caught.value.code == "UNSUPPORTED_CHARSET"


@pytest.mark.parametrize(
    ("body", "codec", "named"),
    [
        (TWEET.encode("latin-1"), "utf-8", "byte 3"),
        (TWEET.encode("utf-16"), "utf-8", "UTF-16"),
        (TWEET.encode("utf-16-le"), "utf-8", "byte"),
        ("Dam breaks".encode("utf-16-le"), "utf-8", "UTF-16"),
        ("Dam breaks".encode("utf-16-be"), "utf-8", "UTF-16"),
        ("Dam breaks".encode("utf-32-le"), "utf-8", "UTF-32"),
        ("Dam breaks".encode("utf-32"), "utf-8", "UTF-32"),
        ("Dam breaks".encode("utf-16"), "latin-1", "UTF-16"),
        ("\ufeffDam breaks".encode(), "latin-1", "UTF-8 byte-order mark"),
        ("\u201cDam\u201d".encode("cp1252"), "latin-1", "windows-1252"),
        (b"Dam \x81", "cp1252", "windows-1252"),
        (TWEET.encode(), "ascii", "US-ASCII"),
        (gzip.compress(b"Dam", mtime=0), "utf-8", "Content-Encoding"),
    ],
)
def test_decode_of_another_encoding_is_refused_and_names_what_it_looks_like(
    body: bytes, codec: str, named: str
) -> None:
    with pytest.raises(InvalidRequestError, match=named) as caught:
        decode(body, codec)
    assert caught.value.code == "NOT_UTF8"


def test_decode_of_a_stray_nul_leaves_it_to_the_normaliser() -> None:
    assert decode(b"Dam breaks above the town\x00") == "Dam breaks above the town\x00"


def test_decode_of_byte_order_marks_drops_them() -> None:
    assert decode("\ufeff\ufeffDam breaks".encode()) == "Dam breaks"
