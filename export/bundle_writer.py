"""Write a bundle from the committed adapter: merged, traced, with hashes of every file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.quantize import write_int8
from export.torchscript_file import save_torchscript
from export.trace import PROOF_SHAPES, prove_equal, trace
from training.base_encoder import resolve_base_encoder
from training.encoding import TweetEncoder
from training.model import load_merged
from tweetclf.bundle import (
    BUNDLE_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    INT8_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Bundle,
    load_bundle,
    read_golden,
    sha256_of,
)

EAGER_TOLERANCE = 1e-4  # of a probability: the same weights and arithmetic as in training
# Facts of the training that every reader of a bundle needs; the rest stays in model/training.json.
CARRIED_FACTS = (
    "model_version",
    "labels",
    "max_tokens",
    "num_hidden_layers",
    "normaliser_version",
    "temperature",
    "thresholds",
    "base_model",
    "data",
    "dev",
)
# Absent from models trained before there was a choice of risks, and from those trained with the normaliser they use.
OPTIONAL_FACTS = ("risks", "trained_with_normaliser")


class ExportError(RuntimeError):
    """The model folder cannot be exported as it is."""


def write_bundle(model_dir: Path, bundle_dir: Path, int8: bool = True) -> Bundle:
    """Merge, check, trace and write everything that serving needs.

    Args:
        model_dir: holds adapter.safetensors, training.json and golden.jsonl.
        bundle_dir: is made anew.
        int8: quantise the network for OpenVINO too.

    Returns:
        The bundle, read back and checked.

    Raises:
        ExportError: the adapter does not reproduce its golden samples, or the tokenizer is another.
        TraceError: the trace differs from the eager model.
        QuantizationError: the int8 network differs too much from it.
    """
    classifier, facts = load_merged(model_dir)
    _check_golden(classifier, model_dir / GOLDEN_FILE)
    traced = trace(classifier)
    shutil.rmtree(bundle_dir, ignore_errors=True)
    bundle_dir.mkdir(parents=True)
    save_torchscript(traced, bundle_dir / MODEL_FILE)
    shutil.copyfile(model_dir / GOLDEN_FILE, bundle_dir / GOLDEN_FILE)
    shutil.copyfile(resolve_base_encoder() / TOKENIZER_FILE, bundle_dir / TOKENIZER_FILE)
    _check_tokenizer(bundle_dir / TOKENIZER_FILE, facts)
    reloaded = torch.jit.load(str(bundle_dir / MODEL_FILE)).eval()
    export_facts: dict[str, Any] = {
        "torch": str(torch.__version__).partition("+")[0],
        "traced_against_eager_largest_logit_difference": float(
            f"{prove_equal(reloaded, classifier, PROOF_SHAPES):.1e}"
        ),
    }
    if int8:
        encoder = TweetEncoder(bundle_dir / TOKENIZER_FILE, facts["max_tokens"])
        export_facts["int8"] = write_int8(classifier, encoder, facts["temperature"], bundle_dir / INT8_FILE)
    content = {
        "format_version": FORMAT_VERSION,
        **{name: facts[name] for name in CARRIED_FACTS},
        **{name: facts[name] for name in OPTIONAL_FACTS if name in facts},
        "export": export_facts,
        "files": {path.name: sha256_of(path) for path in sorted(bundle_dir.iterdir())},
    }
    (bundle_dir / BUNDLE_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return load_bundle(bundle_dir)


def _check_golden(classifier: torch.nn.Module, path: Path) -> None:
    """Refuse an adapter that does not answer as it did when it was trained."""
    for line, sample in enumerate(read_golden(path), start=1):
        ids = torch.tensor([sample.input_ids])
        with torch.no_grad():
            found = classifier(ids, torch.ones_like(ids)).softmax(-1)[0].numpy()
        difference = float(np.abs(found - np.array(sample.probabilities)).max())
        if not difference <= EAGER_TOLERANCE:
            raise ExportError(
                f"{path} line {line}: the merged model differs from the training process by {difference:.2e} of a "
                f"probability; expected at most {EAGER_TOLERANCE:.0e}: adapter, base encoder and golden samples do "
                "not belong together; train again or restore the model folder"
            )


def _check_tokenizer(path: Path, facts: Mapping[str, Any]) -> None:
    expected = facts["base_model"].get("tokenizer_sha256")
    found = sha256_of(path)
    if found != expected:
        raise ExportError(
            f"the base encoder's {path.name} has sha256 {found}; expected {expected} as in training; "
            "install the pinned base encoder"
        )
