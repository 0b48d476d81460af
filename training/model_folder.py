"""Write `model/`: adapter, facts and golden samples of one training run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from training.base_encoder import TOKENIZER_FILE
from training.encoding import TweetEncoder
from training.errors import TrainingError
from training.model import ADAPTER_FILE, FACTS_FILE, TweetClassifier, load_merged, save_adapter
from tweetclf.bundle import sha256_of
from tweetclf.text import normalise

GOLDEN_FILE = "golden.jsonl"
GOLDEN_TEXTS_FILE = "golden_texts.txt"
MAX_BYTES = 3_000_000


def write_model_folder(
    tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], version_date: str, model_dir: Path, base: Path
) -> dict[str, Any]:
    """Write adapter.safetensors, training.json and golden.jsonl; replace what was there only when all is well.

    Golden answers come from the reloaded, merged model: they are what every other process can reproduce.

    Args:
        tensors: the adapter as `training.model.stored` returns it.
        facts: content of training.json but for `model_version`.
        version_date: date part of the version, and a suffix after the hash when it holds a "+".
        model_dir: is made when missing.
        base: folder of the base encoder that the adapter belongs to.

    Returns:
        The facts as written.

    Raises:
        TrainingError: the folder would be larger than 3 MB.
    """
    model_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model_dir.parent, prefix=".model-") as scratch:
        folder = Path(scratch)
        written = _write(tensors, facts, version_date, folder, base)
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size > MAX_BYTES:
            raise TrainingError(
                f"the model folder has {size} bytes; expected at most {MAX_BYTES}; lower model.lora.rank"
            )
        model_dir.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            shutil.move(path, model_dir / path.name)
    return written


def golden_texts() -> list[str]:
    """Return the own-written tweets of golden_texts.txt, one JSON string a line."""
    text = (files("training") / GOLDEN_TEXTS_FILE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def golden_samples(
    classifier: TweetClassifier, base: Path, texts: Sequence[str], max_tokens: int
) -> list[dict[str, Any]]:
    """Return `{"text", "input_ids", "probabilities"}` of each text, computed one by one, without padding."""
    encoder = TweetEncoder(base / TOKENIZER_FILE, max_tokens)
    samples = []
    for text, ids in zip(texts, encoder.encode([normalise(text) for text in texts]), strict=True):
        input_ids = torch.tensor([ids])
        with torch.no_grad():
            probabilities = classifier(input_ids, torch.ones_like(input_ids)).softmax(-1)[0]
        samples.append({"text": text, "input_ids": ids, "probabilities": probabilities.tolist()})
    return samples


def _write(
    tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], version_date: str, folder: Path, base: Path
) -> dict[str, Any]:
    save_adapter(tensors, folder)
    date, _, suffix = version_date.partition("+")
    version = f"{date}-{sha256_of(folder / ADAPTER_FILE)[:8]}" + (f"-{suffix}" if suffix else "")
    written = {"model_version": version, **facts}
    (folder / FACTS_FILE).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    merged, _ = load_merged(folder, base)
    lines = [json.dumps(sample) for sample in golden_samples(merged, base, golden_texts(), written["max_tokens"])]
    (folder / GOLDEN_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written
