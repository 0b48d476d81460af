"""The classifier in packed form: only real tokens go through the linear layers.

A batch of tweets is ragged; padded to its longest, a third to two thirds of the work is wasted
(docs/log.md). Here the linear layers, norms and GELU see the real tokens of all tweets as one
matrix, and only attention works on a padded copy.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import BertModel


class PackedLayer(nn.Module):
    """One encoder layer of BERT on packed tokens.

    Args:
        layer: the trained layer; its weights are taken over, query, key and value as one matrix.
        num_heads: attention heads.
    """

    def __init__(self, layer: nn.Module, num_heads: int) -> None:
        super().__init__()
        attention = layer.attention
        parts = (attention.self.query, attention.self.key, attention.self.value)
        self.num_heads = num_heads
        self.qkv = _linear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        self.attention_out = attention.output.dense
        self.attention_norm = attention.output.LayerNorm
        self.feed_in = layer.intermediate.dense
        self.feed_out = layer.output.dense
        self.feed_norm = layer.output.LayerNorm

    def forward(
        self, hidden: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, grid: torch.Tensor
    ) -> torch.Tensor:
        """Return the next hidden states.

        Args:
            hidden: (real tokens, hidden) floating.
            positions: (real tokens,) int64, row in the padded copy.
            mask: (batch, 1, 1, tokens) bool, True at real tokens.
            grid: (batch, tokens) of any type; carries the padded shape through the trace.
        """
        batch, tokens = grid.shape
        width = hidden.shape[-1]
        qkv = self.qkv(hidden)  # (real tokens, hidden) -> (real tokens, 3 * hidden)
        padded = qkv.new_zeros(batch * tokens, 3 * width).index_copy(0, positions, qkv)
        query, key, value = (
            padded.view(batch, tokens, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(batch * tokens, width).index_select(0, positions)
        hidden = self.attention_norm(self.attention_out(mixed) + hidden)
        return self.feed_norm(self.feed_out(functional.gelu(self.feed_in(hidden))) + hidden)


class PackedClassifier(nn.Module):
    """The whole classifier: token ids in, logits out.

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

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 2).

        Args:
            input_ids: (batch, tokens) int64, padded on the right with any id.
            attention_mask: (batch, tokens) int64, 1 at real tokens; every row has at least one.
        """
        batch, tokens = input_ids.shape
        real = attention_mask.reshape(-1).nonzero().squeeze(1)  # (real tokens,)
        column = torch.remainder(real, tokens)
        row = torch.div(real, tokens, rounding_mode="floor")
        hidden = self.norm(self.words(input_ids.reshape(-1).index_select(0, real)) + self.positions(column))
        mask = attention_mask.to(torch.bool).view(batch, 1, 1, tokens)
        for layer in self.layers:
            hidden = layer(hidden, real, mask, attention_mask)
        summed = hidden.new_zeros(batch, hidden.shape[-1]).index_add(0, row, hidden)
        lengths = attention_mask.sum(1, keepdim=True).to(hidden.dtype)
        return self.head(summed / lengths)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.detach())
    linear.bias = nn.Parameter(bias.detach())
    return linear
