"""Training cuts and encodes as the served classifier does."""

from __future__ import annotations

from pathlib import Path

import torch

from training.data.encoding import TweetEncoder, pad
from tweetclf.bundle import Bundle
from tweetclf.classifier import Classifier
from tweetclf.engines import Engine
from tweetclf.text import normalise

TEXTS = ["fire", "the river floods the storm", "the river and the fire " * 30, "\U0001f525 http and the quake"]


def test_encode_of_short_and_long_texts_equals_the_served_classifier(tiny_bundle: Bundle) -> None:
    class NoEngine(Engine):
        tolerance = 0.0

        def logits(self, rows):
            raise AssertionError("encoding alone runs no network")

    classifier = Classifier(tiny_bundle, NoEngine())
    encoder = TweetEncoder(tiny_bundle.tokenizer_path, tiny_bundle.max_tokens)
    found = encoder.encode([normalise(text) for text in TEXTS])
    assert found == classifier.encode(TEXTS)
    assert max(map(len, found)) == tiny_bundle.max_tokens


def test_encode_with_the_base_encoders_file_neither_pads_nor_cuts_by_itself() -> None:
    from training.model.base_encoder import TOKENIZER_FILE, resolve_base_encoder

    encoder = TweetEncoder(resolve_base_encoder() / TOKENIZER_FILE, 200)
    short, long = encoder.encode(["fire", "fire " * 150])
    assert len(short) == 3
    assert len(long) == 152  # the file's own setting would have made both 128


def test_pad_fills_on_the_right() -> None:
    ids, mask = pad([[2, 7, 3], [2, 3]])
    assert torch.equal(ids, torch.tensor([[2, 7, 3], [2, 3, 0]]))
    assert torch.equal(mask, torch.tensor([[1, 1, 1], [1, 1, 0]]))


def test_encode_reads_the_tokenizer_of_a_path(tiny_base: Path) -> None:
    assert TweetEncoder(tiny_base / "tokenizer.json", 8).encode(["fire"])[0][0] == 2
