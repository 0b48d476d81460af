"""Read the fields of a form body, as well as the wire allows.

`curl -d 'text'` calls its body a form without encoding it, so one content type carries two things: real forms, and
plain tweets in which `&`, `=`, `+` and `%` mean themselves. The rules of `read_urlencoded`, in this order:

1. A body in which everything is encoded and every piece between `&` is `name=value` is a form, made by an encoder.
2. A body that begins with a field `text`, `data` or `body`, or with other fields and then one of these, is a form that
   was typed (`curl -d lang=en -d 'text=A & B'`). A `&` in its text is a letter, unless a name and `=` follow.
3. A body that begins with a name and `=` is a form without a text: refused.
4. Everything else is a tweet. It is decoded when everything in it was encoded; in part only is refused.
"""

from __future__ import annotations

import binascii
import io
import re
from dataclasses import dataclass

from multipart import MultipartError, MultipartParser, ParserLimitReached

from tweetclf.content import field_name, quoted
from tweetclf.errors import InvalidRequestError

TEXT_FIELDS = ("text", "data", "body")
OTHER_FIELDS = ("id", "keyword", "location")
CHARSET_FIELD = "_charset_"  # a browser fills it with the form's character set. Source: HTML, section 4.10.21.4

MAX_URLENCODED_FIELDS = 32
MAX_PARTS = 16
MAX_PART_HEADERS = 4
MAX_PART_HEADER_BYTES = 1024  # the pattern that takes it apart is not linear
MAX_BOUNDARY_CHARS = 70  # Source: RFC 2046, section 5.1.1

# What encoders leave, of addresses too (JavaScript's encodeURI): these characters, `+` for a space and %XX.
# A tweet with a space was not encoded.
_LEFT_BY_ENCODERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*._~!'(),:@/?$;-+%#[]"
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_JAVASCRIPT_ESCAPE = re.compile(rb"%u[0-9A-Fa-f]{4}")
_ESCAPE = re.compile(rb"%|\+")
_WHITE_SPACE = re.compile(rb"\s")
_ENCODED_NAME = re.compile(rb"[A-Za-z0-9*._~+%-]+")
_NAME = rb"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,63}"  # with brackets as in tweet[text]
_START = rb"[\s&]*"
_TYPED_FORM = re.compile(_START + rb"((?:" + _NAME + rb"=[^&]*&{1,8}){0,%d}?)(text|data|body)=" % MAX_URLENCODED_FIELDS)
_TYPED_FIELD = re.compile(_START + rb"(" + _NAME + rb")=")
_NEXT_FIELD = re.compile(rb"&(" + _NAME + rb")=")


@dataclass(frozen=True)
class Field:
    """The content of one field, and the content type that a part of a multipart form has of its own."""

    content: bytes
    content_type: str = ""


def read_urlencoded(body: bytes) -> bytes | dict[str, bytes]:
    """Return the tweet of an `application/x-www-form-urlencoded` body.

    Args:
        body: the raw bytes, before any decoding by a server.

    Returns:
        The fields that are read here, one of them the text, or the whole body as one tweet; see the module's rules.

    Raises:
        InvalidRequestError: BAD_FORM, it is not clear where a field ends, or a field comes twice; WRONG_TYPE, the
            form has no field for the text.
    """
    body = body.rstrip(b"\r\n")  # of a file
    is_encoded = not body.translate(None, _LEFT_BY_ENCODERS + b"&=") and not _BAD_ESCAPE.search(body)
    if is_encoded and b"=" in body and body.count(b"&") < MAX_URLENCODED_FIELDS:
        pieces = [piece.partition(b"=") for piece in body.split(b"&") if piece]  # as browsers do: "a=1&" is one field
        if all(map(_is_encoded_field, pieces)) and b"%20&%20" not in body:
            return _known_fields([(_unescape(name), _decode(value)) for name, _, value in pieces])
    typed = _TYPED_FORM.match(body)
    if typed is not None:
        return _known_fields(_typed_fields(body, typed))
    field = _TYPED_FIELD.match(body)
    if field is not None:
        raise _no_text([field[1]])
    return _decode(body)


def _is_encoded_field(piece: tuple[bytes, bytes, bytes]) -> bool:
    """Tell whether an encoder may have made `name=value`; it would have escaped a `=` in a text."""
    name, equals, value = piece
    is_text = name.decode("ascii") in TEXT_FIELDS
    return bool(equals and _ENCODED_NAME.fullmatch(name)) and not (is_text and b"=" in value)


def _typed_fields(body: bytes, typed: re.Match[bytes]) -> list[tuple[bytes, bytes]]:
    """Take a form apart whose values were typed as they are."""
    fields = [
        (name, _decode(value)) for name, _, value in (lead.partition(b"=") for lead in typed[1].split(b"&") if lead)
    ]
    name, start = typed[2], typed.end()
    for count, border in enumerate(_NEXT_FIELD.finditer(body, start), start=len(fields)):
        if count >= MAX_URLENCODED_FIELDS:
            raise InvalidRequestError(
                "BAD_FORM", f"the form has more than {MAX_URLENCODED_FIELDS} fields; send the tweet as text/plain"
            )
        if border[1].decode() not in (*TEXT_FIELDS, *OTHER_FIELDS):
            last_word = body[start : border.start()].rsplit(None, 1)[-1:]
            if last_word and b"://" in last_word[0]:
                continue  # of a link, which is dropped to its end
            raise InvalidRequestError(
                "BAD_FORM",
                f"in the form, which is not encoded, {field_name(border[1].decode())} may be a field or part of the "
                "text; encode the fields (curl --data-urlencode), or send the tweet as text/plain",
            )
        fields.append((name, _decode(body[start : border.start()])))
        name, start = border[1], border.end()
    return [*fields, (name, _decode(body[start:]))]


def _known_fields(pairs: list[tuple[bytes, bytes]]) -> dict[str, bytes]:
    known: dict[str, bytes] = {}
    for raw_name, value in pairs:
        name = raw_name.decode("utf-8", "replace")
        if name in (*TEXT_FIELDS, *OTHER_FIELDS, CHARSET_FIELD):
            _refuse_repeated(name, known)
            known[name] = value
    if not any(name in known for name in TEXT_FIELDS):
        raise _no_text([name for name, _ in pairs])
    return known


def _refuse_repeated(name: str, known: dict[str, bytes] | dict[str, Field]) -> None:
    if name in known:
        raise InvalidRequestError("BAD_FORM", f"the form has the field '{name}' twice; expected one tweet in one field")
    other = [text for text in TEXT_FIELDS if text in known] if name in TEXT_FIELDS else []
    if other:
        raise InvalidRequestError(
            "BAD_FORM", f"the form has the fields '{other[0]}' and '{name}'; expected the tweet in one field 'text'"
        )


def _no_text(names: list[bytes]) -> InvalidRequestError:
    found = ", ".join(field_name(name.decode("utf-8", "replace")) for name in names[:5]) or "without a name"
    return InvalidRequestError(
        "WRONG_TYPE",
        f"the form has {len(names)} fields ({found}), none of them named {' or '.join(TEXT_FIELDS)}; "
        "expected the tweet in a field 'text'; a tweet that only looks like a form goes as text/plain",
    )


def read_multipart(body: bytes, boundary: str) -> dict[str, Field]:
    """Return the fields of a `multipart/form-data` body.

    Args:
        body: the raw bytes.
        boundary: of the content type; "" when it had none.

    Returns:
        Field name -> content, of the fields that are read here; a file upload is a field like any other.

    Raises:
        InvalidRequestError: BAD_FORM, the body is cut off, has no boundary, too many parts or headers that are too
            long, or a field comes twice; WRONG_TYPE, the form has no field for the text; UNSUPPORTED_ENCODING, a
            part has a transfer encoding.
    """
    if not boundary or len(boundary) > MAX_BOUNDARY_CHARS:
        raise _bad_multipart(body, f"its boundary has {len(boundary)} characters, expected 1 to {MAX_BOUNDARY_CHARS}")
    # In one piece: in strict mode the parser refuses what comes in a piece after the last boundary, a line break too.
    # The limits keep every part in memory; the body is there already.
    whole = len(body) + 1
    parser = MultipartParser(
        io.BytesIO(body),
        boundary.encode("utf-8", "replace"),
        strict=True,
        buffer_size=whole,
        header_limit=MAX_PART_HEADERS,
        headersize_limit=MAX_PART_HEADER_BYTES,
        part_limit=MAX_PARTS,
        spool_limit=whole,
        memory_limit=whole,
    )
    fields: dict[str, Field] = {}
    names = []
    try:
        for part in parser:
            headers = {name.lower(): value for name, value in part.headerlist}
            if len(headers) < len(part.headerlist):
                raise _bad_multipart(body, "a part has a header twice")
            transfer_encoding = headers.get("content-transfer-encoding", "binary")
            if transfer_encoding.strip().lower() not in ("7bit", "8bit", "binary"):
                raise InvalidRequestError(
                    "UNSUPPORTED_ENCODING",
                    f"a part of the form has the transfer encoding {quoted(transfer_encoding)}; send it as it is",
                )
            names.append(part.name.encode())
            if part.name in (*TEXT_FIELDS, *OTHER_FIELDS, CHARSET_FIELD):
                _refuse_repeated(part.name, fields)
                fields[part.name] = Field(part.raw, headers.get("content-type", ""))
    except ParserLimitReached:
        raise _bad_multipart(
            body,
            f"it has more than {MAX_PARTS} parts, more than {MAX_PART_HEADERS} headers in a part, or a header of more "
            f"than {MAX_PART_HEADER_BYTES} bytes",
        ) from None
    except (MultipartError, UnicodeError):
        raise _bad_multipart(body, "it is cut off, or a part has no name") from None
    if not any(name in fields for name in TEXT_FIELDS):
        raise _no_text(names)
    return fields


def _bad_multipart(body: bytes, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        "BAD_FORM",
        f"the multipart body of {len(body)} bytes cannot be read: {reason}; expected a field 'text' between "
        "boundaries, the last one closed; send the form again whole",
    )


def _decode(value: bytes) -> bytes:
    """Undo the escapes of a value in which everything else was escaped, too.

    Raises:
        InvalidRequestError: BAD_FORM, it has escapes, and characters that an encoder would have escaped.
    """
    if not _ESCAPE.search(value) or _WHITE_SPACE.search(value):
        return value
    # In a link escapes are the link's own.
    escape, link = value.find(b"%"), value.find(b"://")
    is_escaped = escape >= 0 and not 0 <= link < escape
    if _BAD_ESCAPE.search(value):
        is_escaped = is_escaped and _JAVASCRIPT_ESCAPE.search(value) is not None
    elif (is_escaped or escape < 0) and not value.translate(None, _LEFT_BY_ENCODERS):
        return _unescape(value)
    if is_escaped:
        raise InvalidRequestError(
            "BAD_FORM",
            "the text has escapes such as %20, and & or = or others that are not escaped; encode the whole in UTF-8 "
            "(curl --data-urlencode), or send the tweet as text/plain",
        )
    return value


def _unescape(value: bytes) -> bytes:
    # The same bytes as urllib's unquote_to_bytes(), which takes 0.8 s for 6.5 MB of escapes; this takes 20 ms.
    quoted_printable = value.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")
    return binascii.a2b_qp(quoted_printable)
