"""Token ids of normalised tweets: one encoder for training, export and serving."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

SHORT_CHARS = 1_000  # a text up to this length is tokenised whole; nearly every tweet is
# A word with one of these has at least one token: ASCII but for controls, and letters that the tokenizer neither
# drops nor takes for an accent. Words of other letters only delay the cut.
_WORD_WITH_TOKEN = re.compile(
    "[!-~\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0391-\u03a1\u03a3-\u03a9\u03b1-\u03c9\u0410-\u044f\u05d0-\u05ea"
    "\u0621-\u063a\u0641-\u064a\u0904-\u0939\u0e01-\u0e2e\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3][^ ]*"
)


class TweetEncoder:
    """Encode normalised texts with a tokenizer's file; its own settings for padding and length are not used.

    A special token that a person typed, such as "[SEP]", is ordinary text.

    Args:
        tokenizer_path: a file of the `tokenizers` library.
        max_tokens: longest result, special tokens included.
    """

    def __init__(self, tokenizer_path: Path, max_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        # The base encoder's file pads every text to 128 tokens and cuts at 128: length is ours to choose.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, special tokens included; [SEP] stays last in a text that is cut."""
        return [ids for ids, _ in self.encode_and_tell(texts)]

    def encode_and_tell(self, texts: Sequence[str]) -> list[tuple[list[int], bool]]:
        """Return the ids of each text, and whether tokens were cut off."""
        limit = self._max_tokens
        encoded = []
        for encoding in self._tokenizer.encode_batch_fast([beginning(text, limit) for text in texts]):
            ids = encoding.ids
            encoded.append((ids, False) if len(ids) <= limit else ([*ids[: limit - 1], ids[-1]], True))
        return encoded


def beginning(normalised: str, tokens: int) -> str:
    """Return a beginning of the text that holds its first `tokens` tokens, so that the rest costs nothing.

    White space ends a word for the tokenizer, so the cut there changes no token before it.

    Args:
        normalised: a result of `normalise`: a single space between words.
        tokens: how many are needed, >= 1.
    """
    if len(normalised) <= SHORT_CHARS:
        return normalised
    last = next(islice(_WORD_WITH_TOKEN.finditer(normalised), tokens - 1, None), None)
    return normalised if last is None else normalised[: last.end()]
