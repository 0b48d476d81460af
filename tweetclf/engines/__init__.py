"""What runs the network: one module an engine, all behind `Engine`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

ENGINE_NAMES = ("auto", "torchscript", "openvino")  # what `engine` in model-config.yaml may be
PRECISION_NAMES = ("auto", "float32", "bfloat16", "float16")  # what `precision` may be; of torchscript only


class Engine(Protocol):
    """Compute logits for token ids; knows nothing of texts, labels or requests.

    Attributes:
        name: the word that `engine` in model-config.yaml takes.
        device: where it runs, such as `cpu` or `cuda:0`.
        precision: `int8`, `float32`, `bfloat16` or `float16`.
        tolerance: largest difference of a probability from the float32 training process that is still
            the same model at this engine's precision.
        batch_tokens: tokens of a micro-batch that it is fastest with, measured
            (docs/log/2026-11.md#int8-packed-exact-fast-close).
    """

    name: str
    device: str
    precision: str
    tolerance: float
    batch_tokens: int

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32, in order, for lists of token ids of any lengths >= 1."""
        ...

    def warm_up(self, max_tokens: int) -> None:
        """Run every usual shape once, for tweets of at most `max_tokens` tokens."""
        ...


def warm_up_shapes(batch_tokens: int, max_tokens: int) -> Iterator[tuple[int, int]]:
    """Yield (tweets, tokens of each): lone tweets of all lengths, then micro-batches of growing size.

    Args:
        batch_tokens: size of the largest micro-batch, in tokens.
        max_tokens: longest tweet.
    """
    for tokens in range(8, max_tokens + 1, 8):
        yield 1, tokens
    usual = min(24, max_tokens)
    tweets = 2
    while tweets * usual < batch_tokens:
        yield tweets, usual
        tweets += max(1, tweets // 4)
    # None larger: an engine keeps the memory of the largest that it met.
    yield max(1, batch_tokens // usual), usual
    yield max(1, batch_tokens // max_tokens), max_tokens
