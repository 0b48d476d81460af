"""Batches of token ids; the encoder is the one that serves."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tweetclf.tokens import TweetEncoder

__all__ = ["TweetEncoder", "pad"]


def pad(rows: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (input_ids, attention_mask), both (batch, tokens) int64, padded on the right to the longest row."""
    tokens = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), tokens), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(rows), tokens), dtype=torch.int64)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
        attention_mask[index, : len(row)] = 1
    return input_ids, attention_mask
