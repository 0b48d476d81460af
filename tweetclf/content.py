"""From the bytes of a request body to its text: content type, content encoding, character set.

What a header declares is honoured or refused by name. It is never ignored: the bytes would then be read as another text
than the caller wrote.
"""

from __future__ import annotations

import codecs
import re
import zlib

from multipart import parse_options_header

from tweetclf.errors import InvalidRequestError

MAX_BODY_BYTES = 6_553_500  # max_request_size of config.properties; what a packed body unpacks to has the same bound
# A packed body of 2 MiB made of empty blocks takes 0.5 s to read; of 6.5 MB it would take 1.6 s.
MAX_PACKED_BYTES = 2 << 20
MAX_GZIP_MEMBERS = 16
MAX_CONTENT_TYPE_CHARS = 1024  # the parser of its parameters is not linear

# Stateful and multi-byte character sets are refused: their names stand for several dialects, and a wrong guess is
# another text. Labels: WHATWG Encoding Standard. Not codecs.lookup: it would import and keep what a caller names.
_CODEC_BY_CHARSET = {
    label: codec
    for codec, labels in {
        "utf-8": ("utf-8", "utf8", "unicode-1-1-utf-8"),
        "ascii": ("us-ascii", "ascii", "ansi_x3.4-1968", "iso646-us"),
        "latin-1": ("iso-8859-1", "iso8859-1", "iso_8859-1", "latin-1", "latin1", "l1"),
        "cp1252": ("windows-1252", "cp1252", "x-cp1252"),
    }.items()
    for label in labels
}
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_C1_CONTROL = re.compile("[\u0080-\u009f]")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "a UTF-32 byte-order mark"),  # begins with the one of UTF-16
    (codecs.BOM_UTF32_BE, "a UTF-32 byte-order mark"),
    (codecs.BOM_UTF16_LE, "a UTF-16 byte-order mark"),
    (codecs.BOM_UTF16_BE, "a UTF-16 byte-order mark"),
    (b"\x1f\x8b", "the mark of gzip; it needs the header Content-Encoding: gzip"),
)
# ASCII text in UTF-16 is every second byte a NUL. A stray NUL of a C program is one in a whole text.
_NUL_SHARE_OF_UTF16 = 8


def read_content_type(content_type: str) -> tuple[str, dict[str, str], str]:
    """Take a Content-Type header apart.

    Args:
        content_type: the header's value; "" when there was none.

    Returns:
        The media type in lower case, its parameters, and the Python codec of its `charset` (utf-8 by default).

    Raises:
        InvalidRequestError: UNSUPPORTED_MEDIA_TYPE, the header is too long; UNSUPPORTED_CHARSET, the character set
            is not read here, or is not clear.
    """
    if len(content_type) > MAX_CONTENT_TYPE_CHARS:
        raise InvalidRequestError(
            "UNSUPPORTED_MEDIA_TYPE",
            f"the content type has {len(content_type)} characters; expected at most {MAX_CONTENT_TYPE_CHARS}",
        )
    media_type, parameters = parse_options_header(content_type)
    charset = parameters.get("charset")
    # A parameter that is written wrongly or twice is not in `parameters`, or only one of the two is.
    if content_type.lower().count("charset") != (0 if charset is None else 1):
        raise InvalidRequestError(
            "UNSUPPORTED_CHARSET", "the content type does not name one character set clearly; expected charset=utf-8"
        )
    return media_type, parameters, codec_of(charset or "utf-8")


def codec_of(charset: str) -> str:
    """Return the Python codec of a character set's name.

    Raises:
        InvalidRequestError: UNSUPPORTED_CHARSET, it is none of those that are read here.
    """
    codec = _CODEC_BY_CHARSET.get(charset.strip().lower())
    if codec is None:
        raise InvalidRequestError(
            "UNSUPPORTED_CHARSET",
            f"the character set is {quoted(charset)}; expected utf-8, us-ascii, iso-8859-1 or windows-1252; "
            "send the text as UTF-8",
        )
    return codec


def decode(body: bytes, codec: str = "utf-8") -> str:
    """Return the text of a body; byte-order marks at its beginning are dropped.

    Args:
        body: bytes after any content encoding was undone.
        codec: a result of `codec_of`.

    Raises:
        InvalidRequestError: NOT_UTF8, the bytes are not in that character set.
    """
    reason = _sign_of_another_encoding(body, codec)
    if reason is None:
        try:
            text = body.decode(codec)
        except UnicodeDecodeError as error:
            reason = f"byte {error.start} of {len(body)} is not {_name(codec)} ({error.reason})"
        else:
            control = _C1_CONTROL.search(text) if codec == "latin-1" else None
            if control is None:
                return text.lstrip("\ufeff")
            reason = f"byte {control.start()} is a control character in ISO-8859-1; it may be windows-1252"
    # Without a cause: it would carry the text into a log.
    raise InvalidRequestError("NOT_UTF8", f"{reason}; send the text as UTF-8") from None


def _sign_of_another_encoding(body: bytes, codec: str) -> str | None:
    for mark, what in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return f"the body begins with {what}"
    if codec != "utf-8" and body.startswith(codecs.BOM_UTF8):
        return f"the body begins with a UTF-8 byte-order mark, while the content type says {_name(codec)}"
    if body.count(0) * _NUL_SHARE_OF_UTF16 > len(body):
        return f"{body.count(0)} of {len(body)} bytes are NUL: the body looks like UTF-16 or UTF-32"
    return None


def _name(codec: str) -> str:
    return {"utf-8": "UTF-8", "ascii": "US-ASCII", "latin-1": "ISO-8859-1", "cp1252": "windows-1252"}[codec]


def unpack(body: bytes, content_encoding: str | None) -> bytes:
    """Undo the content encoding of a body, with a bound on what comes out.

    Args:
        body: bytes as they came over the wire.
        content_encoding: the header's value; None when there was none.

    Returns:
        The body as it was before it was packed.

    Raises:
        InvalidRequestError: UNSUPPORTED_ENCODING, another encoding than gzip or deflate, or several; BAD_ENCODING,
            the packed data is damaged; BODY_TOO_LARGE, it unpacks to more than an unpacked body may have.
    """
    codings = [coding.strip().lower() for coding in (content_encoding or "").split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return body
    if len(codings) > 1 or codings[0] not in ("gzip", "x-gzip", "deflate"):
        raise InvalidRequestError(
            "UNSUPPORTED_ENCODING",
            f"the content encoding is {quoted(', '.join(codings))}; expected one of gzip, deflate or none",
        )
    if len(body) > MAX_PACKED_BYTES:
        raise InvalidRequestError(
            "BODY_TOO_LARGE",
            f"the packed body has {len(body)} bytes; expected at most {MAX_PACKED_BYTES}; send it unpacked or in parts",
        )
    if codings[0] == "deflate":
        # RFC 9110 means the zlib format (two bytes with a check sum first); some clients send the bare stream.
        has_header = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        plain, rest = _inflate(body, zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS, codings[0], MAX_BODY_BYTES)
    else:
        plain, rest = b"", body
        for _ in range(MAX_GZIP_MEMBERS):  # files packed one by one and put together are one gzip file
            member, rest = _inflate(rest, zlib.MAX_WBITS | 16, codings[0], MAX_BODY_BYTES - len(plain))
            plain += member
            if not rest:
                break
    if rest:
        raise InvalidRequestError(
            "BAD_ENCODING", f"{len(rest)} bytes come after the end of the {codings[0]} data; send the body again whole"
        )
    return plain


def _inflate(packed: bytes, window_bits: int, coding: str, limit: int) -> tuple[bytes, bytes]:
    """Return what a stream unpacks to, and what comes after its end."""
    stream = zlib.decompressobj(window_bits)
    try:
        plain = stream.decompress(packed, limit + 1)
    except zlib.error:
        raise InvalidRequestError(
            "BAD_ENCODING",
            f"the {len(packed)} bytes are not {coding}, which the header Content-Encoding says; pack the body again",
        ) from None
    if len(plain) > limit:
        raise InvalidRequestError(
            "BODY_TOO_LARGE",
            f"the {coding} body unpacks to more than {MAX_BODY_BYTES} bytes; split the request into several",
        )
    if not stream.eof:
        raise InvalidRequestError(
            "BAD_ENCODING", f"the {coding} data of {len(packed)} bytes is cut off; send the body again whole"
        )
    return plain, stream.unused_data


def quoted(name: str) -> str:
    """Return a caller's word for a message: short, in quotes, ASCII only."""
    return ascii(name[:60])


def field_name(name: str) -> str:
    """Return the name of a field or key for a message; what does not look like a name may be a text and stays out."""
    return repr(name) if _FIELD_NAME.fullmatch(name) else f"of {len(name)} characters"
