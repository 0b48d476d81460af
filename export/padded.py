"""The classifier in padded form, for OpenVINO.

The packed form (packed.py) converts as well and spares padding, but it needs scatter, gather and broadcast
nodes, which OpenVINO runs slowly, and which weigh more the faster the matrix products are (docs/log.md).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from export.packed import PackedClassifier, PackedLayer


class PaddedClassifier(nn.Module):
    """The same layers on the whole (batch, tokens) grid.

    Args:
        packed: its layers are shared, not copied.
    """

    def __init__(self, packed: PackedClassifier) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 2).

        Args:
            input_ids: (batch, tokens) int64, padded on the right with any id.
            attention_mask: (batch, tokens) int64, 1 at real tokens; every row has at least one.
        """
        packed = self.packed
        batch, tokens = input_ids.shape
        hidden = packed.norm(packed.words(input_ids) + packed.positions.weight[:tokens])
        mask = attention_mask.to(torch.bool).view(batch, 1, 1, tokens)
        for layer in packed.layers:
            hidden = _layer(layer, hidden, mask)
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return packed.head((hidden * weights).sum(1) / weights.sum(1))


def _layer(layer: PackedLayer, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the next hidden states (batch, tokens, hidden)."""
    batch, tokens, width = hidden.shape
    parts = layer.qkv(hidden).view(batch, tokens, 3, layer.num_heads, width // layer.num_heads)
    query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    hidden = layer.attention_norm(layer.attention_out(mixed.transpose(1, 2).reshape(batch, tokens, width)) + hidden)
    return layer.feed_norm(layer.feed_out(functional.gelu(layer.feed_in(hidden))) + hidden)
