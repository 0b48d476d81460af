"""A text model as TorchServe's examples write it (examples/text_classification); tells what it read, too."""

from __future__ import annotations

import json
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

BUCKETS = 32


class TextClassifier(BaseHandler):  # type: ignore[misc]
    """A score for a bag of words."""

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        bodies = [row.get("data") or row.get("body") for row in data]
        # TorchServe reads text/plain and JSON itself.
        self._texts = [bytes(one).decode() if isinstance(one, bytes | bytearray) else json.dumps(one) for one in bodies]
        bags = torch.zeros(len(bodies), BUCKETS)
        for bag, text in zip(bags, self._texts, strict=True):
            for word in text.split():
                bag[sum(word.encode()) % BUCKETS] += 1
        return bags

    def postprocess(self, data: torch.Tensor) -> list[dict[str, Any]]:
        scores = data.softmax(1).tolist()
        return [{"read": text, "score": round(row[0], 4)} for text, row in zip(self._texts, scores, strict=True)]
