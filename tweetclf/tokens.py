"""Token ids of normalised tweets: one encoder for training, export and serving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

# What is read of a text, for each token that the model can take. English has 4 to 5 characters a token; the rest of a
# longer text costs nothing. WordPiece takes up to 0.4 ms for a word of 100 characters, so that a text without this
# bound could take 36 ms, ten times what the network takes for it.
CHARS_PER_TOKEN = 16


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
        """Return the ids of each text, and whether anything of it was left out."""
        limit = self._max_tokens
        beginnings = [beginning(text, limit) for text in texts]
        encoded = []
        for text, read, encoding in zip(texts, beginnings, self._tokenizer.encode_batch_fast(beginnings), strict=True):
            ids = encoding.ids
            if len(ids) > limit:
                encoded.append(([*ids[: limit - 1], ids[-1]], True))
            else:
                encoded.append((ids, len(read) < len(text)))
        return encoded


def beginning(normalised: str, tokens: int) -> str:
    """Return the words of a text that are read: at most CHARS_PER_TOKEN characters a token.

    White space ends a word for the tokenizer, so the cut there changes no token before it.

    Args:
        normalised: a result of `normalise`: a single space between words.
        tokens: how many the model takes.
    """
    most = tokens * CHARS_PER_TOKEN
    if len(normalised) <= most:
        return normalised
    end = normalised.rfind(" ", 0, most + 1)
    return normalised[: end if end > 0 else most]
