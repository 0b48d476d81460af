"""Read a Java .properties file as java.util.Properties does, and keep where each key stands.

Source: Java 17 API, java.util.Properties, load(Reader).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SEPARATOR = re.compile(r"(?<!\\)(?:\\\\)*[=:\s]")
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
        value = re.sub(r"^\s*[=:]?\s*", "", rest)
        found.append(Property(_unescape(key), _unescape(value), number))
    return found


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.lstrip()
        if not pending and (not line or line[0] in "#!"):
            continue
        start = start if pending else number
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            pending += line[:-1]
            continue
        yield start, pending + line
        pending = ""
    if pending:
        yield start, pending


def _unescape(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escaped = match.group(1)
        return chr(int(escaped[1:], 16)) if len(escaped) == 5 else CONTROL.get(escaped, escaped)

    return ESCAPE.sub(plain, text)
