"""Read the tweet out of a form body, as well as the wire allows.

`curl -d 'text'` calls its body a form without encoding it, so one content type carries two things: real
forms, and plain tweets in which `&`, `=`, `+` and `%` mean themselves.
"""

from __future__ import annotations

import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from urllib.parse import unquote_to_bytes

from tweetclf.errors import InvalidRequestError

TEXT_FIELDS = ("text", "data", "body")
OTHER_FIELDS = ("id", "keyword", "location")

# What an encoder leaves: these characters, `+` for a space and %XX. A tweet with a space was not encoded.
_ENCODED = re.compile(rb"(?:[A-Za-z0-9*._~!'(),:@/?$;-]|\+|%[0-9A-Fa-f]{2})*")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}|\+")
_FIRST_FIELD = re.compile(rb"(" + "|".join(TEXT_FIELDS + OTHER_FIELDS).encode() + rb")=")
_NEXT_FIELD = re.compile(rb"&(" + "|".join(TEXT_FIELDS + OTHER_FIELDS).encode() + rb")=")


def read_urlencoded(body: bytes) -> bytes | dict[str, bytes]:
    """Return the tweet of an `application/x-www-form-urlencoded` body.

    Args:
        body: the raw bytes, before any decoding by a server.

    Returns:
        A dict of known fields when the body begins with one (`text=...&id=...`); else the whole body as
        one tweet. Escapes are decoded only where everything else was escaped too: "50% of homes" and
        "A & B + C" stay as they are, "Fire%20near+town" is decoded.
    """
    first = _FIRST_FIELD.match(body)
    if first is None:
        return _decode(body)
    fields: dict[str, bytes] = {}
    name, start = first.group(1), first.end()
    for border in _NEXT_FIELD.finditer(body, start):
        fields[name.decode()] = _decode(body[start : border.start()])
        name, start = border.group(1), border.end()
    fields[name.decode()] = _decode(body[start:])
    return fields


def read_multipart(body: bytes, content_type: str) -> dict[str, bytes]:
    """Return the fields of a `multipart/form-data` body.

    Args:
        body: the raw bytes.
        content_type: the header with its boundary.

    Returns:
        Field name -> content; a file upload is a field like any other.

    Raises:
        InvalidRequestError: BAD_FORM, the body is cut off, has no boundary or no named part.
    """
    # The standard library's own parser of MIME messages wants the header in front of the body.
    head = b"Content-Type: " + content_type.encode("latin-1", "replace").replace(b"\r", b"").replace(b"\n", b"")
    message = BytesParser(EmailMessage, policy=policy.HTTP).parsebytes(head + b"\r\n\r\n" + body)
    fields: dict[str, bytes] = {}
    if message.is_multipart() and not message.defects:
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(content, bytes) and not part.defects:
                fields[name] = content
    if not fields:
        raise InvalidRequestError(
            "BAD_FORM",
            f"the multipart body of {len(body)} bytes is cut off or has no named part; expected a field 'text' "
            "between boundaries, the last one closed; send the form again whole",
        )
    return fields


def _decode(value: bytes) -> bytes:
    if _ESCAPE.search(value) and _ENCODED.fullmatch(value):
        return unquote_to_bytes(value.replace(b"+", b" "))
    return value
