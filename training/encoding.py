"""Token ids of normalised tweets, cut to length exactly as the served classifier cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer


class TweetEncoder:
    """Encode normalised texts with the base encoder's tokenizer.

    Args:
        tokenizer_path: a file of the `tokenizers` library.
        max_tokens: longest result, special tokens included.
    """

    def __init__(self, tokenizer_path: Path, max_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        # The base's file pads every text to 128 tokens and cuts at 128: length is ours to choose.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, special tokens included; [SEP] stays last in a text that is cut."""
        limit = self._max_tokens
        return [
            encoding.ids if len(encoding.ids) <= limit else [*encoding.ids[: limit - 1], encoding.ids[-1]]
            for encoding in self._tokenizer.encode_batch_fast(list(texts))
        ]


def pad(rows: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (input_ids, attention_mask), both (batch, tokens) int64, padded on the right to the longest row."""
    tokens = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), tokens), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(rows), tokens), dtype=torch.int64)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
        attention_mask[index, : len(row)] = 1
    return input_ids, attention_mask
