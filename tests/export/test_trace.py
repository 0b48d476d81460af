"""The trace equals the eager model on shapes that it was not traced on, and a frozen one is caught."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from export.packed import PackedNetwork
from export.trace import PROOF_SHAPES, TRACED_SHAPE, TraceError, prove_equal, random_batch, trace
from tests.tiny_model import TinyClassifier


def test_trace_of_a_classifier_is_equal_on_other_shapes_after_saving(tiny_classifier: TinyClassifier) -> None:
    assert TRACED_SHAPE not in PROOF_SHAPES
    file = io.BytesIO()
    torch.jit.save(trace(tiny_classifier), file)
    file.seek(0)
    assert prove_equal(torch.jit.load(file), tiny_classifier, PROOF_SHAPES) < 1e-4


def test_trace_never_reads_padding(tiny_classifier: TinyClassifier) -> None:
    traced = trace(tiny_classifier)
    ids, mask = random_batch(6, 20, seed=3)
    with torch.no_grad():
        expected = traced(ids, mask)
        assert torch.equal(traced(ids + (1 - mask) * 17, mask), expected)


def test_prove_equal_of_a_trace_with_a_fixed_length_is_refused(tiny_classifier: TinyClassifier) -> None:
    class FixedLength(torch.nn.Module):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
            return tiny_classifier(ids[:, :11], mask[:, :11])

    with pytest.raises(TraceError, match="at batch 1 x 24 tokens the traced logits differ"):
        prove_equal(FixedLength(), tiny_classifier, [(2, 11), (1, 24)])


def test_packed_network_of_another_activation_is_refused(tiny_classifier: TinyClassifier) -> None:
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, hidden_act="relu")
    with pytest.raises(ValueError, match="activation 'relu'"):
        PackedNetwork(BertModel(config, add_pooling_layer=False), tiny_classifier.head)
