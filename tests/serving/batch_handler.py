"""A model that answers how large the bodies of its batch were: what the front end puts together is seen from inside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RELEASE = b"hold until the file is there: "


def held(release: Path) -> Path:
    """Return the file that is there, with the worker's pid, from the moment it waits for the other one."""
    return release.with_name(f"{release.name}.held")


class BatchHandler:
    """Tell each request the sizes of its batch; a body that asks for it holds the worker until a file is there."""

    def initialize(self, context: Any) -> None:
        pass

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        bodies = [bytes(item["body"]) for item in data]
        for body in bodies:
            if body.startswith(RELEASE):
                file = Path(body[len(RELEASE) :].split(b"\n")[0].decode())
                told = file.with_name(f"{file.name}.pid")
                told.write_text(str(os.getpid()), encoding="utf-8")
                told.rename(held(file))  # never there without its content
                give_up_at = time.monotonic() + 30
                while not file.exists() and time.monotonic() < give_up_at:
                    time.sleep(0.01)
        sizes = [len(body) for body in bodies]
        return [json.dumps({"batch": sizes, "place": place}).encode() for place in range(len(bodies))]
