"""Parts of the network in the form that is fastest in TorchScript: linear layers, and attention.

The weights of the linear layers may be brought into the layout of the CPU by the engine, after loading.

`torch.nn.functional.linear` takes MKL for float32, which uses half of the vector width of an AMD CPU; oneDNN uses
all of it, but only through operators of its own and on weights that it has laid out
(rates: docs/log/2026-11.md#float32-torchscript).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from export.packed import GridAttention, PackedLayer, PackedNetwork, ResidualLinear


class PrepackableLinear(nn.Module):
    """A linear layer, with GELU where it follows; to be scripted, since its branch is taken at run time.

    Args:
        linear: its parameters are shared, not copied.
        gelu: whether the exact GELU follows.
    """

    def __init__(self, linear: nn.Linear, gelu: bool) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.activation = "gelu" if gelu else "none"

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (..., outputs).

        Args:
            hidden: (..., inputs) floating.

        Source: torch 2.13, aten/src/ATen/native/mkldnn/Linear.cpp: "none" as the algorithm is the exact GELU.
        """
        if self.weight.is_mkldnn:
            return torch.ops.mkldnn._linear_pointwise(hidden, self.weight, self.bias, self.activation, [], "none")
        result = functional.linear(hidden, self.weight, self.bias)
        return functional.gelu(result) if self.activation == "gelu" else result


class PrepackableResidual(nn.Module):
    """`ResidualLinear`; to be scripted, as the above.

    Args:
        linear: its parameters are shared, not copied.
    """

    def __init__(self, linear: ResidualLinear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return (..., outputs); arguments as `ResidualLinear.forward`."""
        if self.weight.is_mkldnn:
            return torch.ops.mkldnn._linear_pointwise(hidden, residual, self.weight, self.bias, "add")
        return functional.linear(hidden, self.weight, self.bias) + residual


class BatchedAttention(nn.Module):
    """`GridAttention` as two batched matrix products on a CPU, and as torch has it on a GPU; to be scripted.

    For two dozen tokens of 32 numbers torch's own kernel for CPUs is mostly overhead, and so is copying: one look-up
    brings what each head needs of each token into its place, and one brings it back
    (times: docs/log/2026-11.md#float32-memory-and-copies).

    Args:
        attention: whose heads and width are taken over.
    """

    def __init__(self, attention: GridAttention) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.width = attention.width
        self.scale = (attention.width // attention.num_heads) ** -0.5

    def forward(
        self, qkv: torch.Tensor, packed_row_of_cell: torch.Tensor, cell_of_token: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Return (1, packed, hidden); arguments as `GridAttention.forward`."""
        batch, tokens = packed_row_of_cell.shape[0], packed_row_of_cell.shape[1]
        heads, width = self.num_heads, self.width
        each = width // heads
        if qkv.is_cuda:
            grid = functional.embedding(packed_row_of_cell, qkv.squeeze(0))
            parts = grid.view(batch, tokens, 3, heads, each).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=bias)
            mixed = mixed.transpose(1, 2).reshape(batch * tokens, width)
            return functional.embedding(cell_of_token, mixed).unsqueeze(0)
        # A token is 3 * heads rows of `each` numbers: its queries, keys and values.
        part = torch.arange(3 * heads, dtype=packed_row_of_cell.dtype).view(3, 1, heads, 1)
        rows = (packed_row_of_cell * (3 * heads)).view(1, batch, 1, tokens) + part
        parts = functional.embedding(rows.view(3, batch * heads, tokens), qkv.view(-1, each))
        added = bias.expand(batch, heads, 1, tokens).reshape(batch * heads, 1, tokens)
        scores = torch.baddbmm(added, parts[0], parts[1].transpose(1, 2), alpha=self.scale)
        mixed = torch.bmm(scores.softmax(-1), parts[2])  # (batch * heads, tokens, each)
        # Cell (tweet, token) is row (tweet, head, token) there, for each head.
        tweets = torch.div(cell_of_token, tokens, rounding_mode="floor")
        first = cell_of_token + tweets * ((heads - 1) * tokens)
        head = torch.arange(heads, dtype=cell_of_token.dtype) * tokens
        return functional.embedding(first.view(-1, 1) + head, mixed.view(-1, each)).view(1, -1, width)


def make_prepackable(network: PackedNetwork) -> PackedNetwork:
    """Replace attention and the four linear layers of every layer, in place, and return the network."""
    for layer in network.layers:
        assert isinstance(layer, PackedLayer)
        assert isinstance(layer.attention, GridAttention)
        assert isinstance(layer.qkv, nn.Linear)
        assert isinstance(layer.feed_in, nn.Linear)
        assert isinstance(layer.attention_out, ResidualLinear)
        assert isinstance(layer.feed_out, ResidualLinear)
        layer.attention = torch.jit.script(BatchedAttention(layer.attention))
        layer.qkv = torch.jit.script(PrepackableLinear(layer.qkv, gelu=False))
        layer.attention_out = torch.jit.script(PrepackableResidual(layer.attention_out))
        layer.feed_in = torch.jit.script(PrepackableLinear(layer.feed_in, gelu=True))
        layer.activation = nn.Identity()
        layer.feed_out = torch.jit.script(PrepackableResidual(layer.feed_out))
    return network
