"""Read one request body into items, whichever of the wire's forms it has.

Native (one tweet or a list), KServe v1 (`instances`), Open Inference v2 (`inputs`), NDJSON and forms are
told apart by what they hold, not by the address they came to: the server routes all to one handler.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tweetclf.errors import InvalidRequestError
from tweetclf.form import TEXT_FIELDS, read_multipart, read_urlencoded

MAX_ITEMS = 10_000  # one request is one job for one worker; more would hold up its neighbours
MAX_ID_CHARS = 256

ItemId = str | int | float | bool | None

# No tweet begins so, while "[BREAKING] fire" and "{sigh}" are tweets.
_SURELY_JSON = re.compile(r"""\s*(?:\{\s*"|\[\s*["{])""")


class Shape(Enum):
    """The form in which the answer goes back."""

    SINGLE = "single"
    MANY = "many"
    OPEN_INFERENCE = "open inference v2"


@dataclass(frozen=True)
class Item:
    """One tweet of a request, or what is wrong with it.

    Args:
        text: the raw tweet; None when `error` is set.
        id: the caller's own mark, sent back unchanged; `has_id` tells null from absent.
        error: why the item cannot be classified; carries its index.
    """

    text: str | None = None
    id: ItemId = None
    has_id: bool = False
    error: InvalidRequestError | None = None


@dataclass(frozen=True)
class TweetRequest:
    """The items of one request, in order, and the shape of its answer."""

    shape: Shape
    items: list[Item] = field(default_factory=list)
    id: str | None = None


def parse_request(body: bytes, content_type: str = "") -> TweetRequest:
    """Return the items of a request body.

    Args:
        body: raw bytes as they came over the wire.
        content_type: the header's value with its parameters; "" when there was none (gRPC).

    Returns:
        At least the shape; a bad item of a list is an `Item` with an error in its place.

    Raises:
        InvalidRequestError: nothing in the body is usable.
    """
    mime = content_type.partition(";")[0].strip().lower()
    if mime in ("application/x-ndjson", "application/jsonl", "application/x-jsonlines"):
        return _parse_lines(body)
    if mime == "multipart/form-data":
        return _from_fields(read_multipart(body, content_type))
    if mime == "application/x-www-form-urlencoded" and not _looks_like_json(body):
        form = read_urlencoded(body)
        return _from_fields(form) if isinstance(form, dict) else _from_text_or_json(form)
    if mime == "application/json" or mime.endswith("+json"):
        return _from_json(_load_json(_decode(body)))
    if mime == "text/plain":
        return TweetRequest(Shape.SINGLE, [Item(_decode(body))])
    return _from_text_or_json(body)


def _from_fields(fields: dict[str, bytes]) -> TweetRequest:
    for name in TEXT_FIELDS:
        if name in fields:
            request = _from_text_or_json(fields[name])
            break
    else:
        raise InvalidRequestError(
            "WRONG_TYPE",
            f"the form has {len(fields)} fields, none of them named {' or '.join(TEXT_FIELDS)}; "
            "expected the tweet in a field 'text'",
        )
    if request.shape is Shape.SINGLE and "id" in fields and not request.items[0].has_id:
        item = _item({"text": request.items[0].text, "id": _decode(fields["id"])}, None)
        return TweetRequest(Shape.SINGLE, [item])
    return request


def _looks_like_json(body: bytes) -> bool:
    return body.lstrip()[:1] in (b"{", b"[", b'"')


def _from_text_or_json(body: bytes) -> TweetRequest:
    """Read a body of no telling content type: JSON when it is JSON, else the tweet itself."""
    text = _decode(body)
    if not _looks_like_json(body):
        return TweetRequest(Shape.SINGLE, [Item(text)])
    try:
        value = _load_json(text)
    except InvalidRequestError:
        if _SURELY_JSON.match(text):
            raise
        return TweetRequest(Shape.SINGLE, [Item(text)])
    if isinstance(value, dict | list | str):
        return _from_json(value)
    return TweetRequest(Shape.SINGLE, [Item(text)])


def _from_json(value: Any) -> TweetRequest:
    if isinstance(value, list):
        return _many(value)
    if isinstance(value, dict) and "instances" in value:
        instances = value["instances"]
        if not isinstance(instances, list):
            raise InvalidRequestError("WRONG_TYPE", f"'instances' is {_name(instances)}; expected a list of tweets")
        return _many(instances)
    if isinstance(value, dict) and "inputs" in value:
        return _open_inference(value)
    return TweetRequest(Shape.SINGLE, [_checked(_item, value, None)])


def _many(values: list[Any]) -> TweetRequest:
    if len(values) > MAX_ITEMS:
        raise InvalidRequestError(
            "TOO_MANY_ITEMS",
            f"the request has {len(values)} items; expected at most {MAX_ITEMS}; split it into several",
        )
    return TweetRequest(Shape.MANY, [_checked(_item, value, index) for index, value in enumerate(values)])


def _open_inference(value: dict[str, Any]) -> TweetRequest:
    """Read an Open Inference v2 request: one BYTES tensor of any shape.

    Source: Open Inference Protocol, REST, inference request JSON object.
    """
    inputs = value["inputs"]
    tensors = [tensor for tensor in inputs if isinstance(tensor, dict)] if isinstance(inputs, list) else []
    if not tensors:
        raise InvalidRequestError(
            "WRONG_TYPE", f"'inputs' is {_name(inputs)}; expected a list with one tensor of datatype BYTES"
        )
    tensor = next((tensor for tensor in tensors if tensor.get("name") in TEXT_FIELDS), tensors[0])
    data = tensor.get("data")
    if tensor.get("datatype") != "BYTES" or not isinstance(data, list):
        raise InvalidRequestError(
            "WRONG_TYPE",
            "the input tensor has another datatype than BYTES, or its 'data' is no list; expected "
            '{"name": "text", "datatype": "BYTES", "shape": [n], "data": [...]}',
        )
    while data and all(isinstance(row, list) for row in data):  # shape [n, 1] comes as rows
        data = [element for row in data for element in row]
    request_id = value.get("id")
    if request_id is not None and (not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARS):
        raise InvalidRequestError(
            "WRONG_TYPE", f"the request's 'id' is {_name(request_id)}; expected a string of at most {MAX_ID_CHARS}"
        )
    return TweetRequest(Shape.OPEN_INFERENCE, _many(data).items, request_id)


def _parse_lines(body: bytes) -> TweetRequest:
    lines = body.removesuffix(b"\n").split(b"\n") if body.strip() else []
    if len(lines) > MAX_ITEMS:
        raise InvalidRequestError(
            "TOO_MANY_ITEMS", f"the request has {len(lines)} lines; expected at most {MAX_ITEMS}; split it into several"
        )
    return TweetRequest(Shape.MANY, [_checked(_line, line, index) for index, line in enumerate(lines)])


def _line(line: bytes, index: int | None) -> Item:
    text = _decode(line.removesuffix(b"\r"))
    return _item(_load_json(text), index) if _looks_like_json(line) else Item(text)


def _checked(read: Callable[[Any, int | None], Item], value: Any, index: int | None) -> Item:
    """Turn the error of one item of a list into that item's answer; an only item's error is the request's."""
    try:
        return read(value, index)
    except InvalidRequestError as error:
        if index is None:
            raise
        return Item(error=InvalidRequestError(error.code, error.message, index))


def _item(value: Any, index: int | None) -> Item:
    if isinstance(value, str):
        return Item(value)
    if not isinstance(value, dict):
        raise InvalidRequestError(
            "WRONG_TYPE", f'the item is {_name(value)}; expected a string or an object {{"text": "..."}}'
        )
    text = value.get("text")
    if not isinstance(text, str):
        found = f"'text' is {_name(text)}" if "text" in value else "the object has no 'text'"
        raise InvalidRequestError("WRONG_TYPE", f"{found}; expected the tweet as a string under 'text'")
    for name in ("keyword", "location"):
        if not isinstance(value.get(name), str | None):
            raise InvalidRequestError("WRONG_TYPE", f"'{name}' is {_name(value[name])}; expected a string or null")
    item_id = value.get("id")
    if not _is_id(item_id):
        raise InvalidRequestError(
            "WRONG_TYPE",
            f"'id' is {_name(item_id)}; expected a number or a string of at most {MAX_ID_CHARS} characters",
        )
    return Item(text, item_id, "id" in value)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID_CHARS
    # 1e999 is read as infinity, which no JSON answer can carry back.
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            "NOT_UTF8", f"byte {error.start} of {len(body)} is not UTF-8 ({error.reason}); send the text as UTF-8"
        ) from None  # the cause would carry the text into a log


def _load_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        reason = "nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos}"
    except ValueError:
        reason = "it holds NaN, Infinity or a number of too many digits"
    raise InvalidRequestError(
        "BAD_JSON", f"the {len(text)} characters are not JSON: {reason}; send valid JSON, or plain text as text/plain"
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # Python would read it; no other client could read it back


def _name(value: Any) -> str:
    """Name a value's type as JSON does; the value itself may be a tweet and stays out of messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
