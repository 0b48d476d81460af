"""An image model as TorchServe's examples write it (ts/torch_handler/vision_handler.py), without torchvision."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler

SIDE = 8


class ImageClassifier(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """Scores of three classes for a grey picture."""

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        images = [Image.open(io.BytesIO(row.get("data") or row.get("body"))).resize((SIDE, SIDE)) for row in data]
        return torch.stack([torch.from_numpy(np.asarray(image, dtype=np.float32)) / 255 for image in images])

    def postprocess(self, data: torch.Tensor) -> list[list[float]]:
        return [[round(value, 4) for value in row] for row in data.softmax(1).tolist()]
