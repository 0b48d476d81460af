"""A tiny random classifier and the bundle of it. Imports torch, so tests/conftest.py imports it in fixtures only."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertModel

from export.trace import trace
from tests.conftest import MAX_TOKENS
from tweetclf.bundle import sha256_of
from tweetclf.text import NORMALISER_VERSION, normalise

# Own-written; the last is longer than MAX_TOKENS.
GOLDEN_TEXTS = (
    "Flood water is over the bridge in Marlow, families on roofs",
    "this mixtape is fire",
    "Bomberos evac\u00faan el barrio por el incendio \U0001f525 http://example.org/a",
    "the river and the fire and the storm and the quake " * 6,
)


class TinyClassifier(nn.Module):
    """A two-layer BERT with mean pooling and a head, random but fixed."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=128,  # as many as the proof of the trace needs
            initializer_range=0.5,
        )
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(32, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None].to(hidden.dtype)
        return self.head((hidden * weights).sum(1) / weights.sum(1))


def tiny_tokenizer() -> Tokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789#@&%+=.,!?'"]
    pieces += [f"##{piece}" for piece in "abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces += ["the", "flood", "fire", "river", "http", "user", "storm", "quake", "and", "is", "in", "on"]
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def write_tiny_bundle(folder: Path, classifier: TinyClassifier, version: str = "2026.01.01-tiny") -> Path:
    """Write a whole bundle of the tiny classifier into a new folder."""
    folder.mkdir(parents=True)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.jit.save(trace(classifier), str(folder / "model.pt"))
    lines = []
    for text in GOLDEN_TEXTS:
        ids = tokenizer.encode(normalise(text)).ids
        ids = ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]
        with torch.no_grad():
            logits = classifier(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64))
        lines.append(json.dumps({"text": text, "input_ids": ids, "probabilities": logits.softmax(-1)[0].tolist()}))
    (folder / "golden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts = {
        "format_version": 1,
        "model_version": version,
        "labels": ["not_disaster", "disaster"],
        "max_tokens": MAX_TOKENS,
        "normaliser_version": NORMALISER_VERSION,
        "temperature": 1.5,
        "thresholds": {"not_disaster_below": 0.3, "disaster_from": 0.7},
        "dev": {"f1": 0.5},
        "files": {name: sha256_of(folder / name) for name in ("golden.jsonl", "model.pt", "tokenizer.json")},
    }
    (folder / "bundle.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder
