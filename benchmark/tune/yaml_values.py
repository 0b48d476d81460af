"""Change values in a YAML file line by line, since a YAML library would lose the comments that give the reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping

LINE = re.compile(r"^(?P<head>\s*(?P<key>[A-Za-z_]\w*):\s*)(?P<value>[^#\s]*)(?P<tail>\s*(?:#.*)?)$")


def with_values(text: str, values: Mapping[str, object]) -> str:
    """Return the text with other values of some keys; comments and their columns stay where there is room.

    Args:
        text: of the file; a key stands on a line of its own, at any depth, once in the file.
        values: key -> value, numbers or words.

    Raises:
        KeyError: the file has no such key.
    """
    waiting = dict(values)
    lines = []
    for line in text.splitlines():
        found = LINE.match(line)
        if found and found["key"] in waiting:
            value, tail = str(waiting.pop(found["key"])), found["tail"]
            if tail.strip():
                room = len(found["value"]) + len(tail) - len(tail.lstrip())
                tail = " " * max(1, room - len(value)) + tail.lstrip()
            line = f"{found['head']}{value}{tail}"
        lines.append(line)
    if waiting:
        raise KeyError(f"the file has no line for {sorted(waiting)}; add them with any value")
    return "\n".join(lines) + "\n"
