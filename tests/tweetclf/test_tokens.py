"""Token ids of normalised texts: what is cut before tokenising changes no token that is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from training.model.base_encoder import TOKENIZER_FILE, resolve_base_encoder
from tweetclf.text import has_content, normalise
from tweetclf.tokens import CHARS_PER_TOKEN, TweetEncoder, beginning

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
    if truncated:
        assert ids == [*every[: len(ids) - 1], every[-1]]
        assert len(ids) == MAX_TOKENS or len(text) > MAX_TOKENS * CHARS_PER_TOKEN
    else:
        assert ids == every


def test_encode_of_a_long_text_of_long_words_reads_a_bounded_part_and_says_so(encoder: TweetEncoder) -> None:
    word = "z" * 99 + "\u2fff"  # the tokenizer tries 5,000 pieces and finds one unknown word
    ids, truncated = encoder.encode_and_tell([" ".join([word] * 99)])[0]
    assert len(ids) == 2 + MAX_TOKENS * CHARS_PER_TOKEN // 101
    assert truncated


def test_beginning_of_a_long_text_ends_with_a_whole_word() -> None:
    words = "fire " * 1_999 + "fire"
    assert beginning(words, 2) == "fire " * 5 + "fire"  # 32 characters end within the seventh
    assert beginning("fire fire", 2) == "fire fire"
    assert beginning("z" * 99, 2) == "z" * 32
    assert beginning("z" * 32 + " fire", 2) == "z" * 32


def test_encode_of_a_character_with_content_gives_a_token(encoder: TweetEncoder) -> None:
    # A fifth of the planes that hold letters and emoji: all of them take a minute.
    every = [chr(code) for code in range(0, 0x20000, 5) if not 0xD800 <= code <= 0xDFFF]
    normal = [normalise(character) for character in every]
    assert [
        f"U+{ord(character):04X}"
        for character, text, ids in zip(every, normal, encoder.encode(normal), strict=True)
        if has_content(text) and len(ids) <= 2
    ] == []
