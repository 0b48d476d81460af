"""What runs the network: one module an engine, all behind `Engine`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

ENGINE_NAMES = ("auto", "torchscript", "openvino")  # what `engine` in model-config.yaml may be


class Engine(Protocol):
    """Compute logits for token ids; knows nothing of texts, labels or requests.

    Attributes:
        name: the word that `engine` in model-config.yaml takes.
        device: where it runs, such as `cpu` or `cuda:0`.
        tolerance: largest difference of a probability from the float32 training process that is still
            the same model at this engine's precision.
    """

    name: str
    device: str
    tolerance: float

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32, in order, for lists of token ids of any lengths >= 1."""
        ...
