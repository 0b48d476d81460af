"""Find in TorchServe's logs why a server does not come up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

MODEL_LOG = "model_log.log"
FRONTEND_LOG = "ts_log.log"
# What TorchServe prints when a handler refuses with a RuntimeError; a meaningless second error follows it.
# Source: TorchServe 0.12, ts/model_service_worker.py, load_model()
REFUSAL = re.compile(r"- Failed to load model \S+, exception (.+)$")
# The last line of a Python traceback, after the stamp of the log line.
PYTHON_ERROR = re.compile(r"- ((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): .+)$")
FRONTEND_ERROR = re.compile(r"\[?ERROR\b.*? - (.+)$|(Exception in thread .+)$|^((?:\w+\.)+\w*(?:Exception|Error): .+)$")
MAX_CHARS = 600


class StartLog:
    """What TorchServe has logged since an object of this class was made."""

    def __init__(self, root: Path, console: Path, environment: Mapping[str, str]) -> None:
        self._folder = root / environment.get("LOG_LOCATION", "logs")
        self._console = root / console
        self._offsets = {name: self._size(name) for name in (MODEL_LOG, FRONTEND_LOG)}

    def load_error(self) -> str | None:
        """Return the last error with which the model refused to load, or None."""
        lines = self._new_lines(MODEL_LOG)
        return _last(REFUSAL, lines) or _last(PYTHON_ERROR, lines)

    def reason(self) -> str:
        """Return one line for people: the likeliest reason why the server is not ready."""
        console = self._console.read_text(encoding="utf-8", errors="replace") if self._console.is_file() else ""
        found = (
            self.load_error()
            or _last(FRONTEND_ERROR, self._new_lines(FRONTEND_LOG))
            or _last(FRONTEND_ERROR, console.splitlines())
        )
        return found or f"no error in {self._folder}/{MODEL_LOG} and {FRONTEND_LOG}"

    def _size(self, name: str) -> int:
        path = self._folder / name
        return path.stat().st_size if path.is_file() else 0

    def _new_lines(self, name: str) -> list[str]:
        path = self._folder / name
        if not path.is_file():
            return []
        # A file smaller than before has been rolled over: all of it is new.
        offset = self._offsets[name] if self._size(name) >= self._offsets[name] else 0
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", errors="replace").splitlines()


def _last(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    for line in reversed(lines):
        found = pattern.search(line)
        if found:
            return next(group for group in found.groups() if group)[:MAX_CHARS]
    return None
