"""The classifier in packed form: only real tokens go through the linear layers.

A batch of tweets is ragged; padded to its longest, a third to two thirds of the work is wasted
(docs/log/2026-11.md#packed-trace). Here the linear layers, norms and GELU see the real tokens of all tweets as one
matrix, and only attention works on a padded grid. Every change between the two is a look-up of rows
by a table that comes with the tokens: a copy in any engine, without a shape that depends on data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import BertModel

MASKED_BIAS = -1e9  # as tweetclf/engines/packing.py


class ResidualLinear(nn.Linear):
    """A linear layer whose result is added to what came before it.

    Args:
        linear: its parameters are shared, not copied.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return (..., outputs), as `residual`; `hidden` is (..., inputs) floating."""
        return functional.linear(hidden, self.weight, self.bias) + residual


class GridAttention(nn.Module):
    """Attention of all heads on a padded grid, as torch has it, from packed tokens to packed tokens.

    Args:
        num_heads: attention heads.
        width: of the hidden states; a number, not a shape, which a trace would follow.
    """

    def __init__(self, num_heads: int, width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.width = width

    def forward(
        self, qkv: torch.Tensor, packed_row_of_cell: torch.Tensor, cell_of_token: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Return (1, packed, hidden).

        Args:
            qkv: (1, packed, 3 * hidden) floating: query, key and value of each token.
            packed_row_of_cell: (batch, tokens) int, row in the packed list of each cell.
            cell_of_token: (packed,) int, cell of each packed token.
            bias: (batch, 1, 1, tokens) floating, added to attention scores.
        """
        grid = functional.embedding(packed_row_of_cell, qkv.squeeze(0))  # (batch, tokens, 3 * hidden)
        batch, tokens = grid.shape[:2]
        query, key, value = (
            part.view(batch, tokens, self.num_heads, self.width // self.num_heads).transpose(1, 2)
            for part in grid.split(self.width, -1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return functional.embedding(cell_of_token, mixed.transpose(1, 2).reshape(batch * tokens, self.width)).unsqueeze(
            0
        )


class PackedLayer(nn.Module):
    """One encoder layer of BERT on packed tokens.

    Args:
        layer: the trained layer; its weights are taken over, query, key and value as one matrix.
        num_heads: attention heads.
    """

    # Any: a BertLayer, whose parts torch types as a tensor or a module.
    def __init__(self, layer: Any, num_heads: int) -> None:
        super().__init__()
        attention = layer.attention
        parts = (attention.self.query, attention.self.key, attention.self.value)
        self.attention: nn.Module = GridAttention(num_heads, int(layer.output.dense.out_features))
        self.qkv: nn.Module = _linear(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )
        self.attention_out: nn.Module = ResidualLinear(attention.output.dense)
        self.attention_norm: nn.Module = attention.output.LayerNorm
        self.feed_in: nn.Module = layer.intermediate.dense
        self.activation: nn.Module = nn.GELU()
        self.feed_out: nn.Module = ResidualLinear(layer.output.dense)
        self.feed_norm: nn.Module = layer.output.LayerNorm

    def forward(
        self, hidden: torch.Tensor, packed_row_of_cell: torch.Tensor, cell_of_token: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Return the next hidden states.

        Args:
            hidden: (1, packed, hidden) floating.
            packed_row_of_cell: as of `PackedNetwork.forward`, and so are the next two.
            cell_of_token: (packed,) int.
            bias: (batch, 1, 1, tokens) floating.
        """
        mixed = self.attention(self.qkv(hidden), packed_row_of_cell, cell_of_token, bias)
        hidden = self.attention_norm(self.attention_out(mixed, hidden))
        return self.feed_norm(self.feed_out(self.activation(self.feed_in(hidden)), hidden))


class PackedNetwork(nn.Module):
    """The whole network on packed tokens: what the engines run.

    Args:
        encoder: a transformers BertModel with absolute positions and GELU, adapter merged.
        head: linear layer from the pooled vector to the logits.

    Raises:
        ValueError: the encoder is of another kind than this form was proven equal to.

    Source: BERT as in transformers 5 (modeling_bert.py); pooling as in all-MiniLM-L6-v2 (masked mean).
    """

    def __init__(self, encoder: BertModel, head: nn.Linear) -> None:
        super().__init__()
        config = encoder.config
        if config.hidden_act != "gelu" or config.is_decoder:
            raise ValueError(f"encoder has activation {config.hidden_act!r}; expected a BERT encoder with 'gelu'")
        embeddings = encoder.embeddings
        self.words = embeddings.word_embeddings
        # Every tweet is one segment: its embedding is folded into the positions'.
        segment = embeddings.token_type_embeddings.weight[0]
        self.positions = nn.Embedding.from_pretrained(embeddings.position_embeddings.weight.detach() + segment.detach())
        self.norm = embeddings.LayerNorm
        self.layers = nn.ModuleList(PackedLayer(layer, config.num_attention_heads) for layer in encoder.encoder.layer)
        self.head = head

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        packed_row_of_cell: torch.Tensor,
        cell_of_token: torch.Tensor,
        bias: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Return logits (batch, 2).

        Args:
            input_ids: (packed,) int, ids of all tweets one after the other; any id behind the last.
            position_ids: (packed,) int, position of each within its tweet.
            packed_row_of_cell: (batch, tokens) int, row in the packed list of each cell of the grid; any row where
                nothing lies.
            cell_of_token: (packed,) int, number of the cell of each packed token.
            bias: (batch, 1, 1, tokens) floating, added to attention scores; very negative where nothing lies.
            weights: (batch, tokens, 1) float32, share of each cell in its tweet's mean; 0 where nothing lies.
        """
        words = functional.embedding(input_ids, self.words.weight)
        # One tweet of all tokens: OpenVINO fuses norms and quantisation over three axes, not over two.
        hidden = self.norm(words + functional.embedding(position_ids, self.positions.weight)).unsqueeze(0)
        bias = bias.type_as(hidden)
        for layer in self.layers:
            hidden = layer(hidden, packed_row_of_cell, cell_of_token, bias)
        grid = functional.embedding(packed_row_of_cell, hidden.squeeze(0))  # (batch, tokens, hidden)
        # Float32 weights: the mean of a half-precision network is taken in float32.
        return self.head((grid * weights).sum(1).type_as(hidden))


class PackedClassifier(nn.Module):
    """The network behind the usual inputs, a padded grid of ids and its mask.

    Args:
        network: a PackedNetwork or its trace; is shared, not copied.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 2).

        Args:
            input_ids: (batch, tokens) int64, padded on the right with any id.
            attention_mask: (batch, tokens) int64, 1 at real tokens; every row has at least one.
        """
        batch, tokens = attention_mask.shape
        flat = attention_mask.reshape(-1)
        cell_of_token = flat.nonzero().squeeze(1)  # (packed,)
        # Running number of the real tokens; -1 before the first of them, where nothing lies either.
        packed_row_of_cell = (flat.cumsum(0) - 1).clamp(min=0).view(batch, tokens)
        bias = ((1 - attention_mask) * MASKED_BIAS).view(batch, 1, 1, tokens)
        weights = (attention_mask / attention_mask.sum(1, keepdim=True)).unsqueeze(-1)
        packed_ids = input_ids.reshape(-1).index_select(0, cell_of_token)
        return self.network(
            packed_ids, torch.remainder(cell_of_token, tokens), packed_row_of_cell, cell_of_token, bias, weights
        )


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.detach())
    linear.bias = nn.Parameter(bias.detach())
    return linear
