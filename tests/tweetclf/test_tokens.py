"""Token ids of normalised texts: what is cut before tokenising changes no token that is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from training.base_encoder import TOKENIZER_FILE, resolve_base_encoder
from tweetclf.text import has_content, normalise
from tweetclf.tokens import SHORT_CHARS, TweetEncoder, beginning

MAX_TOKENS = 128
SPECIAL_IDS = {0, 100, 101, 102, 103}  # [PAD], [UNK], [CLS], [SEP], [MASK] of the base encoder


@pytest.fixture(scope="module")
def tokenizer_path() -> Path:
    return resolve_base_encoder() / TOKENIZER_FILE


@pytest.fixture(scope="module")
def encoder(tokenizer_path: Path) -> TweetEncoder:
    return TweetEncoder(tokenizer_path, MAX_TOKENS)


@pytest.fixture(scope="module")
def whole(tokenizer_path: Path) -> Tokenizer:
    """The tokenizer as it is, which reads every text to its end."""
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.mark.parametrize("word", ["[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "[SEP][SEP]", "x[MASK]y"])
def test_encode_of_a_special_token_typed_by_a_person_is_that_of_the_lower_case_word(
    encoder: TweetEncoder, word: str
) -> None:
    typed, lower = encoder.encode([normalise(f"{word} fire in town"), normalise(f"{word.lower()} fire in town")])
    assert typed == lower
    assert not SPECIAL_IDS.intersection(typed[1:-1])


# Words of letters, marks, symbols, Chinese, and of more than the 100 characters that the tokenizer reads of a word.
units = st.sampled_from(
    ["a", "fire", "\u0301\u0316", "\u4e00\u9fa5", "\U0001f525", "\u05d0\u05d1", "\u0627\u064b", "\u1400", ".", "\u201c",
     "-a", "\u0915\u094d", "\uac00", "\u3042", "\ufdfa", "\u0d05", "\u0345", "\u0e01\u0e31", "7", "\u00e9", "I\u0307"]
)  # fmt: skip
hostile_words = st.tuples(units, st.sampled_from([1, 2, 40, 101, 400])).map(lambda pair: pair[0] * pair[1])
long_texts = st.lists(
    st.tuples(st.lists(hostile_words, min_size=1, max_size=5), st.sampled_from([1, 7, 60])), max_size=8
)


@settings(max_examples=40, deadline=None)
@given(long_texts)
def test_encode_of_a_long_text_gives_the_first_tokens_of_the_whole(
    encoder: TweetEncoder, whole: Tokenizer, parts: list[tuple[list[str], int]]
) -> None:
    text = normalise(" ".join(" ".join(words * repeats) for words, repeats in parts))
    every = whole.encode(text).ids
    ids, truncated = encoder.encode_and_tell([text])[0]
    assert truncated is (len(every) > MAX_TOKENS)
    assert ids == (every if not truncated else [*every[: MAX_TOKENS - 1], every[-1]])


def test_beginning_of_a_long_text_is_as_many_words_as_tokens_are_needed() -> None:
    assert beginning("fire " * 1_999 + "fire", MAX_TOKENS) == "fire " * 127 + "fire"
    short = "\u0301 " * (SHORT_CHARS // 2)
    assert beginning(short, 1) == short
    marks_only = "\u0301 \u0316 " * 1_000
    assert beginning(marks_only, MAX_TOKENS) == marks_only  # none has a token, so none may be left out


def test_encode_of_a_character_with_content_gives_a_token(encoder: TweetEncoder) -> None:
    # A fifth of the planes that hold letters and emoji: all of them take a minute.
    every = [chr(code) for code in range(0, 0x20000, 5) if not 0xD800 <= code <= 0xDFFF]
    normal = [normalise(character) for character in every]
    assert [
        f"U+{ord(character):04X}"
        for character, text, ids in zip(every, normal, encoder.encode(normal), strict=True)
        if has_content(text) and len(ids) <= 2
    ] == []
