"""Read a Java .properties file as java.util.Properties does, and keep where each key stands.

Source: Java 17 API, java.util.Properties, load(Reader).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BLANKS = " \t\f"  # all that Java takes for white space
SEPARATOR = re.compile(r"(?<!\\)(?:\\\\)*[=: \t\f]")
LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines knows more
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True)
class Property:
    """One key with its value and the number of its line, from 1."""

    key: str
    value: str
    line: int


def read_properties(text: str) -> list[Property]:
    """Return every property in file order; of a key that comes twice Java takes the last."""
    found = []
    for number, line in _logical_lines(text):
        end = SEPARATOR.search(line)
        key, rest = (line, "") if end is None else (line[: end.end() - 1], line[end.end() - 1 :])
        # Blanks, at most one = or :, blanks again.
        value = re.sub(r"^[ \t\f]*[=:]?[ \t\f]*", "", rest)
        found.append(Property(_unescape(key), _unescape(value), number))
    return found


def read_values(text: str) -> dict[str, str]:
    """Return key -> value; of a key that comes twice the last counts, and blanks at a value's end are left out."""
    return {entry.key: entry.value.strip() for entry in read_properties(text)}


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending: str | None = None  # None: the line before does not go on here
    start = 0
    for number, raw in enumerate(LINE_END.split(text), 1):
        line = raw.lstrip(BLANKS)
        if pending is None and (not line or line[0] in "#!"):
            continue
        start = number if pending is None else start
        line = (pending or "") + line
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            pending = line[:-1]
            continue
        yield start, line
        pending = None
    if pending:
        yield start, pending


def _unescape(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escaped = match.group(1)
        return chr(int(escaped[1:], 16)) if len(escaped) == 5 else CONTROL.get(escaped, escaped)

    return ESCAPE.sub(plain, text)
