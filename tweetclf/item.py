"""One tweet of a request: its text, its id, or what is wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tweetclf.errors import InvalidRequestError
from tweetclf.json_text import RepeatedKey, name_of

MAX_ID_CHARS = 256

ItemId = str | int | float | bool | None

LONG_TEXT_CHARS = 10_000  # such a text is refused by its length, whatever it is
# What may stand in front of JSON and is not seen: white space, control characters, byte-order marks, zero widths.
INVISIBLE = "".join(map(chr, range(0x21))) + "\u0085\u00a0\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\ufeff"
# An object as JSON or Python writes it, alone or in a list.
_OBJECT_SOURCE = re.compile(r"""(?:\[\s*)?\{\s*["']\w{1,64}["']\s*:""")
# An object of this wire whose quotes a shell has taken or kept: {text: Fire}, '{"text": "Fire"}', {\\"text\\": ...}.
_MISQUOTED_OBJECT = re.compile(
    r"""'?(?:\[\s*)?\{\s*\\?["']?(?:text|data|body|tweet|id|keyword|location|instances|inputs)\\?["']?\s*:"""
)
# How ISO-2022-JP, -KR and -CN switch to two bytes a character; the bytes themselves are ASCII.
_ISO_2022 = re.compile(r"\x1b[$(]")


@dataclass(frozen=True)
class Item:
    """One tweet of a request, or what is wrong with it.

    Args:
        text: the raw tweet; None when `error` is set.
        id: the caller's own mark, sent back unchanged; `has_id` tells null from absent.
        error: why the item cannot be classified; carries its index in a list.
    """

    text: str | None = None
    id: ItemId = None
    has_id: bool = False
    error: InvalidRequestError | None = None


def text_item(text: str, item_id: ItemId = None, has_id: bool = False) -> Item:
    """Return an item of a text that a person may have written.

    Raises:
        InvalidRequestError: NOT_UTF8, the text is of ISO-2022; WRONG_TYPE, it is the source of a JSON object or of a
            list of strings, which was packed once too often or sent under the wrong content type.
    """
    if len(text) > LONG_TEXT_CHARS:
        return Item(text, item_id, has_id)
    if "\x1b" in text and _ISO_2022.search(text):
        raise InvalidRequestError(
            "NOT_UTF8", "the text has the escape sequences of ISO-2022 (such as ISO-2022-JP); send the text as UTF-8"
        )
    if _is_json_source(text):
        raise InvalidRequestError(
            "WRONG_TYPE",
            "the text is itself the source of an object or a list; expected the tweet; send JSON as it is, with the "
            "content type application/json",
        )
    return Item(text, item_id, has_id)


def _is_json_source(text: str) -> bool:
    start = text.lstrip(INVISIBLE)
    if start[:1] not in ("{", "[", "'"):
        return False
    if _MISQUOTED_OBJECT.match(start):
        return True
    end = text.rstrip(INVISIBLE)[-1:]
    if _OBJECT_SOURCE.match(start):
        return end in ("}", "]")
    return start[1:].lstrip()[:1] == '"' and end == "]" and text.rstrip(INVISIBLE)[:-1].rstrip()[-1:] == '"'


def read_item(value: Any) -> Item:
    """Read one value of a JSON list, or the only one.

    Args:
        value: a string, or an object with `text` and, if wanted, `id`, `keyword`, `location`; other keys are ignored.

    Raises:
        InvalidRequestError: WRONG_TYPE, it is something else; NOT_UTF8, see `text_item`.
    """
    if isinstance(value, str):
        return text_item(value)
    if not isinstance(value, dict):
        raise InvalidRequestError(
            "WRONG_TYPE", f'the item is {name_of(value)}; expected a string or an object {{"text": "..."}}'
        )
    text = value.get("text")
    if not isinstance(text, str):
        found = f"'text' is {name_of(text)}" if "text" in value else "the object has no 'text'"
        raise InvalidRequestError("WRONG_TYPE", f"{found}; expected the tweet as a string under 'text'")
    for name in ("keyword", "location"):
        if not isinstance(value.get(name), str | None):
            raise InvalidRequestError("WRONG_TYPE", f"'{name}' is {name_of(value[name])}; expected a string or null")
    item_id = value.get("id")
    if not _is_id(item_id):
        raise InvalidRequestError(
            "WRONG_TYPE",
            f"'id' is {name_of(item_id)}; expected a number or a string of at most {MAX_ID_CHARS} characters",
        )
    return text_item(text, item_id, "id" in value)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID_CHARS
    # An integer of hundreds of digits cannot be asked whether it is finite. 1e999 is infinity, which JSON cannot hold.
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def checked(read: Callable[[Any], Item], value: Any, index: int | None = None) -> Item:
    """Turn the error of one item of a list into that item's answer, which keeps its id."""
    try:
        item = read(value)
    except InvalidRequestError as error:
        # Not the error that was caught: through its traceback and frames it would keep the whole batch in memory.
        code, message = error.code, error.message
        has_id = isinstance(value, dict) and "id" in value and _is_id(value["id"])
        return Item(None, value["id"] if has_id else None, has_id, InvalidRequestError(code, message, index))
    if item.error is None:
        return item
    return replace(item, error=InvalidRequestError(item.error.code, item.error.message, index))


def refuse_repeated_key(value: Any) -> None:
    """Raise when an object has a key twice."""
    if isinstance(value, RepeatedKey):
        raise InvalidRequestError("WRONG_TYPE", f"the body is {name_of(value)}; expected each key once")
