"""A model that answers by a rule, in the real one's form: a rollout is tested without exporting several models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RULE_FILE = "rule.json"  # travels in the archive: {"version": ..., "word": ...}


def answer(rule: Mapping[str, str], text: str) -> dict[str, Any]:
    """Say `disaster` where the rule's word stands in the text."""
    score = 0.9 if rule["word"] in text else 0.1
    label = "disaster" if score > 0.5 else "not_disaster"
    return {"label": label, "score": score, "decision": label, "model_version": rule["version"]}


class CannedHandler:
    """Answer one text or a list of texts."""

    def initialize(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        self._rule = json.loads((folder / RULE_FILE).read_text(encoding="utf-8"))

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        for index in range(len(data)):
            context.set_response_content_type(index, "application/json")
        if context.get_request_header(0, "describe") == "True":  # TorchServe asks for it in a batch of one
            return [json.dumps({"model_version": self._rule["version"]}).encode()]
        return [self._answer(bytes(next(iter(item.values())))) for item in data]

    def _answer(self, body: bytes) -> bytes:
        try:
            given = json.loads(body)
        except ValueError:
            given = body.decode()
        if isinstance(given, str):
            return json.dumps(answer(self._rule, given)).encode()
        texts = [item if isinstance(item, str) else item["text"] for item in given]
        return json.dumps({"predictions": [answer(self._rule, text) for text in texts]}).encode()
