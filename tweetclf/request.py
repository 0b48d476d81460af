"""Read one request body into items, whichever of the wire's forms it has.

Native (one tweet or a list), KServe v1 (`instances`), Open Inference v2 (`inputs`), NDJSON and forms are
told apart by what they hold, not by the address they came to: the server routes all to one handler.
What is not clear is refused: an answer for another text than the caller meant is the worst this package can do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from tweetclf.content import codec_of, decode, quoted, read_content_type
from tweetclf.errors import InvalidRequestError, StringFormError
from tweetclf.form import CHARSET_FIELD, OTHER_FIELDS, TEXT_FIELDS, Field, read_multipart, read_urlencoded
from tweetclf.item import INVISIBLE, LONG_TEXT_CHARS, Item, checked, read_item, refuse_repeated_key, text_item
from tweetclf.json_text import check_marks, load_json, name_of
from tweetclf.open_inference import read_element, read_outputs, read_request_id, read_tensor

MAX_ITEMS = 10_000  # one request is one job for one worker; more would hold up its neighbours

# Types that say nothing of what the body is, so that it is read as what it looks like.
_ANY_TYPES = ("", "*/*", "application/octet-stream", "binary/octet-stream")
_JSON_TYPES = ("application/json", "text/json", "application/x-json", "text/x-json")
_LINE_TYPES = ("ndjson", "jsonl", "jsonlines")  # without x- and hyphens, under application/ or text/
# No tweet begins so, while "[BREAKING] fire" and "{sigh}" are tweets.
_SURELY_JSON = re.compile(r"""(?:\{\s*"|\[\s*["{])""")
# What `curl -d @file` makes of lines of JSON strings: it drops the line breaks.
_JOINED_STRINGS = re.compile(r'(?:"(?:[^"\\]|\\.)*"){2,}')
# A form that HTML sends with enctype="text/plain": names and values as they are, each line with CRLF at its end.
_PLAIN_FORM = re.compile(r"(?s)(?:[A-Za-z_][\w.\[\]-]{0,63}=.*\r\n)?(?:text|data|body)=.*\r\n")
_BRACKETED = re.compile(r"[\[{]\s*[^\W\d_]")  # "[BREAKING] fire" in a file of lines
_SURELY_MARKUP = re.compile(r"<\?xml|<!doctype|<html", re.IGNORECASE)
_SCALAR = re.compile(r"null|true|false|NaN|-?Infinity|-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,9})?")


class Shape(Enum):
    """The form in which the answer goes back."""

    SINGLE = "single"
    MANY = "many"
    KSERVE_V1 = "kserve v1"
    OPEN_INFERENCE = "open inference v2"


@dataclass(frozen=True)
class TweetRequest:
    """The items of one request, in order, and the shape of its answer.

    Args:
        shape: the form of the answer.
        items: one a tweet.
        id: the caller's mark of the whole request (v2 only).
        outputs: the names of the output tensors asked for (v2 only); empty asks for the usual ones.
    """

    shape: Shape
    items: list[Item] = field(default_factory=list)
    id: str | None = None
    outputs: tuple[str, ...] = ()


def parse_request(body: bytes, content_type: str = "", fields: Mapping[str, bytes] | None = None) -> TweetRequest:
    """Return the items of a request body.

    Args:
        body: raw bytes as they came over the wire, without a content encoding.
        content_type: the header's value with its parameters; "" when there was none (gRPC).
        fields: what came beside the body, by name: `id`, `keyword`, `location` (gRPC).

    Returns:
        At least the shape; a bad item of a list is an `Item` with an error in its place.

    Raises:
        InvalidRequestError: nothing in the body is usable.
    """
    request = _from_body(body, content_type)
    return _with_fields(request, {name: decode(value) for name, value in (fields or {}).items()})


def _from_body(body: bytes, content_type: str) -> TweetRequest:
    media_type, parameters, codec = read_content_type(content_type)
    if media_type == "multipart/form-data":
        return _from_fields(read_multipart(body, parameters.get("boundary", "")), codec)
    if media_type == "application/x-www-form-urlencoded" and not _looks_like_json(body):
        form = read_urlencoded(body)
        if isinstance(form, dict):
            return _from_fields({name: Field(content) for name, content in form.items()}, codec)
        return _from_text_or_json(form, codec)
    return _from_content(body, media_type, codec)


def _from_content(body: bytes, media_type: str, codec: str) -> TweetRequest:
    main, _, subtype = media_type.partition("/")
    line_type = subtype.removeprefix("x-").replace("-", "").replace("_", "")
    if main in ("application", "text") and line_type in _LINE_TYPES:
        return _parse_lines(body, codec)
    if media_type in _JSON_TYPES or subtype.endswith("+json"):
        return _from_json(load_json(decode(body, codec)))
    if media_type == "text/plain":
        text = decode(body, codec)
        if len(text) <= LONG_TEXT_CHARS and _PLAIN_FORM.fullmatch(text):
            raise InvalidRequestError(
                "BAD_FORM", "the text is a form of the type text/plain; send it as application/x-www-form-urlencoded"
            )
        return TweetRequest(Shape.SINGLE, [text_item(text)])
    if media_type in (*_ANY_TYPES, "application/x-www-form-urlencoded"):
        return _from_text_or_json(body, codec)
    raise InvalidRequestError(
        "UNSUPPORTED_MEDIA_TYPE",
        f"the content type is {quoted(media_type)}; expected text/plain, application/json, application/x-ndjson "
        "or a form",
    )


def _from_fields(fields: dict[str, Field], codec: str) -> TweetRequest:
    """Read a form: `text` (or `data`, `body`), and for one tweet its `id`, `keyword` and `location`."""
    if CHARSET_FIELD in fields:
        codec = codec_of(decode(fields[CHARSET_FIELD].content))
    name = next(name for name in TEXT_FIELDS if name in fields)
    content, content_type = fields[name].content, fields[name].content_type
    media_type, _, own_codec = read_content_type(content_type)
    if "charset" not in content_type.lower():
        own_codec = codec
    if media_type == "text/plain":  # clients write it on every field
        request = _from_text_or_json(content, own_codec)
    elif media_type == "application/x-www-form-urlencoded":
        raise InvalidRequestError(
            "UNSUPPORTED_MEDIA_TYPE", "a part of the form says that it is a form itself; expected the tweet, or JSON"
        )
    else:
        request = _from_content(content, media_type, own_codec)
    return _with_fields(request, {name: decode(fields[name].content, codec) for name in OTHER_FIELDS if name in fields})


def _with_fields(request: TweetRequest, others: dict[str, str]) -> TweetRequest:
    if "id" not in others:
        return request
    if request.shape is not Shape.SINGLE or request.items[0].has_id:
        raise InvalidRequestError(
            "WRONG_TYPE", "the field 'id' comes with a text that has ids of its own or is a list; expected one of them"
        )
    return TweetRequest(Shape.SINGLE, [read_item({"text": request.items[0].text, "id": others["id"]})])


def _looks_like_json(body: bytes) -> bool:
    start = body[:64].decode("utf-8", "ignore").lstrip(INVISIBLE)
    return start[:1] in ("{", "[", '"')


def _from_text_or_json(body: bytes, codec: str) -> TweetRequest:
    """Read a body of no telling content type: JSON when it is JSON, else the tweet itself."""
    text = decode(body, codec)
    start = text.lstrip(INVISIBLE)
    if start[:1] in ("{", "[", '"'):
        try:
            value = load_json(text)
        except InvalidRequestError as error:
            if _SURELY_JSON.match(start) or error.code != "BAD_JSON" or _are_quoted_lines(text):
                raise
        else:
            return _from_json(value)
    elif _SURELY_MARKUP.match(start):
        raise InvalidRequestError("UNSUPPORTED_MEDIA_TYPE", "the body is XML or HTML; expected the tweet, or JSON")
    return TweetRequest(Shape.SINGLE, [text_item(text)])


def _are_quoted_lines(text: str) -> bool:
    """Tell whether each of several lines is in quotes: lines of JSON without the content type that says so."""
    if len(text) > LONG_TEXT_CHARS:
        return False
    if _JOINED_STRINGS.fullmatch(text.strip()):
        return True
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return len(lines) > 1 and all(len(line) > 1 and line[0] == line[-1] == '"' for line in lines)


def _from_json(value: Any) -> TweetRequest:
    refuse_repeated_key(value)
    if isinstance(value, list):
        return TweetRequest(Shape.MANY, _items(read_item, value))
    if isinstance(value, dict):
        forms = [name for name in ("text", "instances", "inputs") if name in value]
        if len(forms) > 1:
            raise InvalidRequestError(
                "WRONG_TYPE", f"the object has the keys '{forms[0]}' and '{forms[1]}'; expected one of them"
            )
        read = {"instances": _kserve_v1, "inputs": _open_inference}.get(forms[0] if forms else "")
        if read is not None:
            try:
                return read(value)
            except InvalidRequestError as error:
                raise StringFormError(error.code, error.message) from None
    return TweetRequest(Shape.SINGLE, [read_item(value)])


def _items(read: Callable[[Any], Item], values: list[Any]) -> list[Item]:
    if len(values) > MAX_ITEMS:
        raise InvalidRequestError(
            "TOO_MANY_ITEMS",
            f"the request has {len(values)} items; expected at most {MAX_ITEMS}; split it into several",
        )
    return [checked(read, value, index) for index, value in enumerate(values)]


def _kserve_v1(value: dict[str, Any]) -> TweetRequest:
    instances = value["instances"]
    if not isinstance(instances, list):
        raise InvalidRequestError("WRONG_TYPE", f"'instances' is {name_of(instances)}; expected a list of tweets")
    return TweetRequest(Shape.KSERVE_V1, _items(read_item, instances))


def _open_inference(value: dict[str, Any]) -> TweetRequest:
    request_id, outputs = read_request_id(value), read_outputs(value)
    elements, is_base64 = read_tensor(value)
    items = _items(partial(read_element, is_base64=is_base64), elements)
    return TweetRequest(Shape.OPEN_INFERENCE, items, request_id, outputs)


def _parse_lines(body: bytes, codec: str) -> TweetRequest:
    count = body.count(b"\n") + (not body.endswith(b"\n")) if body.strip() else 0
    if count > MAX_ITEMS:
        raise InvalidRequestError(
            "TOO_MANY_ITEMS", f"the request has {count} lines; expected at most {MAX_ITEMS}; split it into several"
        )
    check_marks(body.decode("latin-1"))
    lines = body.removesuffix(b"\n").split(b"\n") if count else []
    read = partial(_line, codec=codec)
    return TweetRequest(Shape.MANY, [checked(read, line, index) for index, line in enumerate(lines)])


def _line(line: bytes, codec: str) -> Item:
    text = decode(line.removesuffix(b"\r"), codec)
    if text.lstrip(INVISIBLE)[:1] in ("{", "[", '"'):
        try:
            return checked(read_item, load_json(text))
        except InvalidRequestError:
            if not _BRACKETED.match(text.lstrip(INVISIBLE)):
                raise
    if _SCALAR.fullmatch(text.strip()):
        raise InvalidRequestError(
            "WRONG_TYPE", "the line is a JSON value that is no text; expected a tweet or an object"
        )
    return text_item(text)
