"""A model whose second worker loads as long as a test wants: what waits for it is seen from outside."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER_FILE = "folder.txt"  # in the archive: where the files below lie
FIRST, WAITS, GO = "first", "waits", "go"
PATIENCE_S = 60


def wait_for(*files: Path) -> None:
    """Wait until one of these files is there."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not any(file.exists() for file in files):
        assert time.monotonic() < give_up_at, f"none of {[file.name for file in files]} after {PATIENCE_S} s"
        time.sleep(0.01)


class WaitingHandler:
    """The first worker loads at once; any other says that it waits, and loads when `GO` is there."""

    def initialize(self, context: Any) -> None:
        folder = Path((Path(context.system_properties["model_dir"]) / FOLDER_FILE).read_text(encoding="utf-8"))
        if not (folder / FIRST).exists():
            (folder / FIRST).touch()
            return
        (folder / WAITS).touch()
        wait_for(folder / GO)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        return [b"answered"] * len(data)
