"""Trace the classifier to TorchScript and prove the trace equal to the eager model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import cast

import torch
from torch import nn
from transformers import BertModel

from export.packed import PackedClassifier, PackedNetwork
from export.prepackable import make_prepackable
from tweetclf.engines.packing import pack

EXAMPLE_ROWS = ((2, 5, 6, 7, 3), (2, 8, 3))  # any ids; with padding, as TRACED_SHAPE
TRACED_SHAPE = (3, 11)  # (batch, tokens); any with padding, so that no branch of the trace is special
# Shapes it was not traced on: one token, one tweet, no padding, long, many.
PROOF_SHAPES = ((1, 3), (1, 24), (1, 128), (2, 11), (5, 17), (16, 33), (64, 24), (7, 128))
TOLERANCE = 1e-4  # of a logit, float32; sums in another order differ by about 1e-6


class TraceError(RuntimeError):
    """The traced module does not compute what the trained model computes."""


def trace(classifier: nn.Module) -> torch.jit.ScriptModule:
    """Return the packed TorchScript form of an eager classifier, dynamic in batch and length.

    Its submodule `network` takes the tables of packing.py, the module itself a padded grid and a mask.

    Args:
        classifier: eager, eval mode, float32; `encoder` a BertModel with the adapter merged, `head` linear;
            forward(input_ids, attention_mask) -> logits (batch, 2).

    Raises:
        TraceError: the result differs from the eager model on a shape that it was not traced on.
    """
    network = PackedNetwork(cast("BertModel", classifier.encoder), cast("nn.Linear", classifier.head)).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # torch.jit is deprecated upstream; TorchServe's TorchScript path needs it (docs/adr/0001).
        warnings.simplefilter("ignore")
        example = tuple(map(torch.from_numpy, pack(EXAMPLE_ROWS, length_step=8)))
        # On its own first: a submodule's trace takes its arguments in an order of its own.
        network = torch.jit.trace(make_prepackable(network), example, check_trace=False)
        packed = PackedClassifier(network).eval()
        traced = torch.jit.trace(packed, random_batch(*TRACED_SHAPE, seed=0), check_trace=False)
    prove_equal(traced, classifier, PROOF_SHAPES)
    assert isinstance(traced, torch.jit.ScriptModule)
    return traced


def prove_equal(traced: nn.Module, classifier: nn.Module, shapes: Iterable[tuple[int, int]]) -> float:
    """Compare the two on random ragged batches of each shape.

    Returns:
        The largest difference of a logit.

    Raises:
        TraceError: a difference beyond TOLERANCE; names the shape.
    """
    worst = 0.0
    for seed, (batch, tokens) in enumerate(shapes, start=1):
        inputs = random_batch(batch, tokens, seed)
        with torch.no_grad():
            difference = float((traced(*inputs) - classifier(*inputs)).abs().max())
        if not difference <= TOLERANCE:
            raise TraceError(
                f"at batch {batch} x {tokens} tokens the traced logits differ from the eager ones by {difference:.2e}; "
                f"expected at most {TOLERANCE:.0e}: the trace has fixed something that must stay dynamic"
            )
        worst = max(worst, difference)
    return worst


def random_batch(batch: int, tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (input_ids, attention_mask), both (batch, tokens) int64, ragged, the first row full."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 50, (batch, tokens), generator=generator)
    lengths = torch.randint(1, tokens + 1, (batch,), generator=generator)
    lengths[0] = tokens
    mask = (torch.arange(tokens)[None, :] < lengths[:, None]).long()
    return ids * mask, mask
