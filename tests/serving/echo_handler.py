"""A model that answers what reached it: a server's settings are tested without the real one."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ANSWER_FILE = "answer.txt"  # travels in the archive; tells one build from another


class EchoHandler:
    """Return parameter names, content types and bytes of each request, and its own headers."""

    def initialize(self, context: Any) -> None:
        self._answer = (Path(context.system_properties["model_dir"]) / ANSWER_FILE).read_text(encoding="utf-8")
        logging.getLogger(__name__).info("model echo ready on cpu after 0.00 s")

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        return [self._echo(item, context.get_all_request_header(index)) for index, item in enumerate(data)]

    def _echo(self, item: Mapping[str, Any], headers: Mapping[str, Any]) -> bytes:
        parameters = {
            name: {
                "base64": base64.b64encode(value if isinstance(value, bytes | bytearray) else b"").decode(),
                "kind": type(value).__name__,
                "content_type": headers[name]["content-type"] if isinstance(headers.get(name), Mapping) else None,
            }
            for name, value in item.items()
        }
        texts = {name: value for name, value in headers.items() if isinstance(value, str)}
        answer = {"answer": self._answer, "parameters": parameters, "headers": texts, "variables": sorted(os.environ)}
        return json.dumps(answer).encode()
