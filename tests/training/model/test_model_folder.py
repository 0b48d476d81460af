"""The committed model is whole, small, real, and answers as its golden samples say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from training.model.base_encoder import resolve_base_encoder
from training.model.model import load_merged
from training.model.model_folder import MAX_BYTES, golden_samples, golden_texts
from tweetclf.bundle import read_golden
from tweetclf.text import NORMALISER_VERSION, has_content, normalise

MODEL = ROOT / "model"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return json.loads((MODEL / "training.json").read_text(encoding="utf-8"))


def test_golden_samples_of_the_committed_model_can_be_made_again() -> None:
    classifier, facts = load_merged(MODEL)
    committed = read_golden(MODEL / "golden.jsonl")
    made = golden_samples(classifier, resolve_base_encoder(), golden_texts(), facts["max_tokens"])
    assert [sample.text for sample in committed] == golden_texts()
    for before, now in zip(committed, made, strict=True):
        assert list(before.input_ids) == now["input_ids"]
        assert list(before.probabilities) == pytest.approx(now["probabilities"], abs=1e-5)
    shares = [sample.probabilities[1] for sample in committed]
    assert min(shares) < 0.2  # a model that says the same of everything would pass the rest
    assert max(shares) > 0.8


def test_committed_model_is_real_and_small(facts: dict[str, Any]) -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= MAX_BYTES
    assert "debug" not in facts["model_version"]
    assert facts["dev"]["n"] > 900
    assert facts["dev"]["f1"] >= 0.80
    assert facts["labels"] == ["not_disaster", "disaster"]
    assert facts["normaliser_version"] == NORMALISER_VERSION


def test_committed_model_knows_events_from_figures_of_speech() -> None:
    classifier, facts = load_merged(MODEL)
    texts = [
        "Wildfire jumps the highway near Redding, families being evacuated",
        "Bridge collapsed after the flood, rescue boats are searching for survivors",
        "this mixtape is fire",
        "I'm drowning in homework, send help and coffee",
    ]
    samples = golden_samples(classifier, resolve_base_encoder(), texts, facts["max_tokens"])
    assert [sample["probabilities"][1] > 0.5 for sample in samples] == [True, True, False, False]


def test_golden_texts_cover_long_short_and_foreign_tweets() -> None:
    texts = golden_texts()
    assert len(texts) == len(set(texts)) >= 40
    assert all(has_content(normalise(text)) for text in texts)
    assert any(len(sample.input_ids) == 128 for sample in read_golden(MODEL / "golden.jsonl"))
    assert any(len(text) <= 5 for text in texts)
    assert sum(not text.isascii() for text in texts) >= 10


def test_half_precision_is_kept_as_such() -> None:
    from safetensors.torch import load_file

    tensors = load_file(MODEL / "adapter.safetensors")
    assert {tensor.dtype for name, tensor in tensors.items() if ".lora_" in name} <= {torch.float16, torch.float32}
    assert tensors["head.weight"].dtype == torch.float32
