"""Build a classifier by settings, ask it, and reduce it to what is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.data.batches import BucketedBatches
from training.learning.settings import ModelSettings
from training.model.model import (
    TweetClassifier,
    adapter_tensors,
    add_lora,
    load_base,
    low_rank_tensors,
    merge_adapter,
    stored,
    tune_fully,
)


def build_classifier(base: Path, model: ModelSettings) -> TweetClassifier:
    """Return the classifier to train: base layers, with LoRA or to be tuned whole, and a fresh head."""
    encoder = load_base(base, model.num_hidden_layers, model.attention, model.encoder_dropout)
    classifier = TweetClassifier(encoder, model.head_dropout)
    return tune_fully(classifier) if model.tuning == "full" else add_lora(classifier, model.lora)


def stored_tensors(classifier: TweetClassifier, base: Path, model: ModelSettings) -> dict[str, torch.Tensor]:
    """Return the adapter of a trained classifier as it is written."""
    if model.tuning == "full":
        plain = TweetClassifier(load_base(base, model.num_hidden_layers))
        return stored(low_rank_tensors(classifier, plain, model.lora.rank))
    return stored(adapter_tensors(classifier))


def adapter_scale(model: ModelSettings) -> float:
    """Return the factor of the stored low-rank matrices."""
    return 1.0 if model.tuning == "full" else model.lora.scale


def merged_classifier(tensors: dict[str, torch.Tensor], base: Path, model: ModelSettings) -> TweetClassifier:
    """Return the classifier that an adapter makes of the base, to be asked only."""
    classifier = TweetClassifier(load_base(base, model.num_hidden_layers))
    return merge_adapter(classifier, tensors, adapter_scale(model)).requires_grad_(False).eval()


def predict_logits(
    classifier: TweetClassifier, batches: BucketedBatches
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return logits (rows, 2) float32 and targets (rows,), in the order of the batches."""
    classifier.eval()
    device = next(classifier.parameters()).device
    logits, targets = [], []
    with torch.inference_mode():
        for batch in batches:
            found = classifier(batch["input_ids"].to(device), batch["attention_mask"].to(device))
            logits.append(found.float().cpu().numpy())
            targets.append(batch["targets"].numpy())
    return np.concatenate(logits), np.concatenate(targets)
