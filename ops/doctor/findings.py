"""What the doctor says: one finding, its place, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        severity: `error` stops a start, `warning` does not.
        where: file and key, or the part of the machine.
        found: what is there.
        expected: what should be there, or what follows from it.
        fix: one line that says what to do.
    """

    severity: str
    where: str
    found: str
    expected: str
    fix: str

    def line(self) -> str:
        """Return it for people."""
        return f"{self.severity}: {self.where}: {self.found}; expected {self.expected}; {self.fix}"


def error(where: str, found: str, expected: str, fix: str) -> Finding:
    """Return a finding that stops a start."""
    return Finding(ERROR, where, found, expected, fix)


def warning(where: str, found: str, expected: str, fix: str) -> Finding:
    """Return a finding that does not."""
    return Finding(WARNING, where, found, expected, fix)


def unknown_key(where: str, key: str, known: Iterable[str]) -> Finding:
    """Return the finding for a key that TorchServe would pass over in silence, with the nearest that it knows."""
    near = difflib.get_close_matches(key, list(known), n=1)
    fix = f"write {near[0]}" if near else "remove it, or correct its name"
    return error(f"{where}: {key}", "no such setting, TorchServe ignores it in silence", "a setting that it knows", fix)
