"""The classifier as it is trained: MiniLM layers, masked mean pooling, LoRA, one linear head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel

from training.model.base_encoder import CONFIG_FILE, WEIGHTS_FILE, resolve_base_encoder

LABELS = ("not_disaster", "disaster")
ADAPTER_FILE = "adapter.safetensors"
FACTS_FILE = "training.json"
# Every linear layer of a BERT block; "output.dense" stands for attention.output.dense and output.dense.
LORA_TARGETS = ("query", "key", "value", "output.dense", "intermediate.dense")


class AdapterError(RuntimeError):
    """The model folder does not hold an adapter of this classifier."""


@dataclass(frozen=True)
class LoraSettings:
    """Size of the low-rank update.

    Args:
        rank: inner width of the update; each weight W becomes W + (alpha / rank) * B @ A.
        alpha: numerator of its scale.
        dropout: on the input of A while training, in [0, 1).

    Source: Hu et al. 2021, arXiv:2106.09685, section 4.1.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        """Return the factor of B @ A."""
        return self.alpha / self.rank


class TweetClassifier(nn.Module):
    """Token ids in, two logits out, in the order of `LABELS`.

    Args:
        encoder: BERT without pooler.
        dropout: on the pooled vector while training, in [0, 1).
    """

    def __init__(self, encoder: BertModel, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, len(LABELS))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 2).

        Args:
            input_ids: (batch, tokens) int64, padded on the right.
            attention_mask: (batch, tokens) int64, 1 at real tokens; every row has at least one.

        Source: masked mean pooling as all-MiniLM-L6-v2 was trained with (its 1_Pooling/config.json).
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return self.head(self.dropout((hidden * weights).sum(1) / weights.sum(1)))


def load_base(folder: Path, num_hidden_layers: int, attention: str = "eager", dropout: float = 0.0) -> BertModel:
    """Return the first layers of the base encoder, float32.

    Args:
        folder: holds config.json and model.safetensors.
        num_hidden_layers: layers kept, from the input on.
        attention: implementation in transformers, "eager" or "sdpa".
        dropout: of hidden states and attention weights while training, in [0, 1).

    Raises:
        AdapterError: the base has fewer layers, or lacks a weight.
    """
    raw = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    available = raw["num_hidden_layers"]
    if not 1 <= num_hidden_layers <= available:
        raise AdapterError(
            f"num_hidden_layers is {num_hidden_layers}; the base encoder has {available}; ask for 1 to it"
        )
    changed = {
        "num_hidden_layers": num_hidden_layers,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    encoder = BertModel(
        BertConfig.from_dict({**raw, **changed}, attn_implementation=attention), add_pooling_layer=False
    )
    weights = load_file(folder / WEIGHTS_FILE)
    missing, _ = encoder.load_state_dict(weights, strict=False)
    if missing:
        raise AdapterError(f"{folder / WEIGHTS_FILE} lacks {missing[:3]}; expected every weight of {raw['model_type']}")
    return encoder.float()


def add_lora(classifier: TweetClassifier, settings: LoraSettings) -> TweetClassifier:
    """Freeze the encoder and give each of its linear layers a trainable low-rank update, in place."""
    # Only training needs peft: load_merged reads the same tensors without it.
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(LORA_TARGETS),
        bias="none",
    )
    inject_adapter_in_model(config, classifier.encoder)
    for name, parameter in classifier.encoder.named_parameters():
        parameter.requires_grad = ".lora_" in name
    return classifier


def tune_fully(classifier: TweetClassifier) -> TweetClassifier:
    """Let every weight of the encoder's layers be trained, in place; the embeddings stay as they are."""
    for name, parameter in classifier.encoder.named_parameters():
        parameter.requires_grad = not name.startswith("embeddings.")
    return classifier


def adapter_tensors(classifier: TweetClassifier) -> dict[str, torch.Tensor]:
    """Return what training changed: `<layer>.lora_A`, `<layer>.lora_B` (float32) and the head.

    Raises:
        AdapterError: the classifier has no LoRA layers.
    """
    tensors = {
        f"encoder.{name.replace('.default.weight', '')}": parameter.detach().cpu().contiguous()
        for name, parameter in classifier.encoder.named_parameters()
        if ".lora_" in name
    }
    if not tensors:
        raise AdapterError("the classifier has no LoRA layers; expected a result of add_lora")
    tensors["head.weight"] = classifier.head.weight.detach().cpu().contiguous()
    tensors["head.bias"] = classifier.head.bias.detach().cpu().contiguous()
    return tensors


def low_rank_tensors(tuned: TweetClassifier, plain: TweetClassifier, rank: int) -> dict[str, torch.Tensor]:
    """Return what full tuning changed, in the form of an adapter of scale 1.

    The change of each matrix is kept in its `rank` largest singular directions, split evenly between
    `<layer>.lora_A` (rank, in) and `<layer>.lora_B` (out, rank); that of each vector (biases, layer norms) whole, as
    `<name>.delta`; all float32, and the head as it is.

    Args:
        tuned: after training.
        plain: the same classifier before it; only its encoder is read.
        rank: directions kept; those beyond a matrix's own rank are zero.

    Source: Eckart and Young 1936 (the nearest matrix of a rank).
    """
    before = dict(plain.encoder.named_parameters())
    tensors = {}
    for name, parameter in tuned.encoder.named_parameters():
        if name.startswith("embeddings."):
            continue
        change = (parameter.detach() - before[name].detach()).cpu()
        if change.ndim == 1:
            tensors[f"encoder.{name}.delta"] = change.contiguous()
            continue
        left, values, right = torch.linalg.svd(change, full_matrices=False)
        root = values[:rank].sqrt()
        layer = name.removesuffix(".weight")
        tensors[f"encoder.{layer}.lora_A"] = (root[:, None] * right[:rank]).contiguous()
        tensors[f"encoder.{layer}.lora_B"] = (left[:, :rank] * root).contiguous()
    tensors["head.weight"] = tuned.head.weight.detach().cpu().contiguous()
    tensors["head.bias"] = tuned.head.bias.detach().cpu().contiguous()
    return tensors


def stored(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """Return adapter tensors as they are written: what belongs to the encoder in `dtype`, the head in float32.

    float16 halves the file and moves logits by about 1e-4.
    """
    return {name: tensor if name.startswith("head.") else tensor.to(dtype) for name, tensor in tensors.items()}


def save_adapter(tensors: Mapping[str, torch.Tensor], model_dir: Path) -> Path:
    """Write `adapter.safetensors`.

    Args:
        tensors: as `stored` returns them.
        model_dir: is made when missing.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    path = model_dir / ADAPTER_FILE
    save_file(dict(tensors), path)
    path.chmod(0o644)  # safetensors makes it readable by its owner alone
    return path


def merge_adapter(classifier: TweetClassifier, tensors: Mapping[str, torch.Tensor], scale: float) -> TweetClassifier:
    """Add the low-rank updates to a plain classifier's weights and set its head, in place.

    Args:
        classifier: without LoRA layers, float32.
        tensors: as `adapter_tensors` or `low_rank_tensors` names them, any float type.
        scale: alpha / rank of the training; 1 of a full tuning.

    Raises:
        AdapterError: a tensor belongs to no layer of this classifier, or a layer has no update.

    Source: Hu et al. 2021, arXiv:2106.09685, equation 3.
    """
    waiting = dict(tensors)
    with torch.no_grad():
        for name, layer in _lora_layers(classifier):
            try:
                down, up = waiting.pop(f"{name}.lora_A").float(), waiting.pop(f"{name}.lora_B").float()
            except KeyError as error:
                raise AdapterError(f"the adapter lacks {error}; it was trained with fewer layers") from error
            layer.weight += scale * (up @ down)
        for name, parameter in classifier.encoder.named_parameters():
            change = waiting.pop(f"encoder.{name}.delta", None)
            if change is not None:
                parameter.add_(change.float())
        for name in ("weight", "bias"):
            try:
                getattr(classifier.head, name).copy_(waiting.pop(f"head.{name}"))
            except KeyError as error:
                raise AdapterError(f"the adapter lacks {error}; expected the head beside the LoRA matrices") from error
    if waiting:
        raise AdapterError(f"the adapter has {len(waiting)} tensors too many, first {min(waiting)}; layers differ")
    return classifier


def load_merged(model_dir: Path, base: Path | None = None) -> tuple[TweetClassifier, dict[str, Any]]:
    """Return the trained classifier with the adapter merged into the base, and the facts of its training.

    Args:
        model_dir: holds adapter.safetensors and training.json.
        base: folder of the base encoder; None resolves the pinned one.

    Returns:
        The classifier (eager attention, float32, eval mode, no gradients) and the content of training.json.

    Raises:
        AdapterError: a file is missing or of another shape.
        BaseEncoderError: the base encoder is missing or another.
    """
    for name in (ADAPTER_FILE, FACTS_FILE):
        if not (model_dir / name).is_file():
            raise AdapterError(f"{name} is missing in {model_dir}; expected a trained model; run `make train`")
    facts: dict[str, Any] = json.loads((model_dir / FACTS_FILE).read_text(encoding="utf-8"))
    encoder = load_base(base or resolve_base_encoder(), facts["num_hidden_layers"])
    classifier = TweetClassifier(encoder)
    merge_adapter(classifier, load_file(model_dir / ADAPTER_FILE), float(facts["lora"]["scale"]))
    return classifier.requires_grad_(False).eval(), facts


def _lora_layers(classifier: TweetClassifier) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in classifier.named_modules():
        if isinstance(module, nn.Linear) and name.startswith("encoder.encoder.") and name.endswith(LORA_TARGETS):
            yield name, module
