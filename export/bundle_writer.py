"""Write a bundle from the committed adapter: merged, traced, with hashes of every file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from export.archive import CONFIG_FILE, ROOT
from export.quantize import QuantizationError, write_int8
from export.torchscript_file import save_torchscript
from export.trace import PROOF_SHAPES, prove_equal, trace
from training.data.encoding import TweetEncoder
from training.model.base_encoder import resolve_base_encoder
from training.model.model import load_merged
from tweetclf.bundle import (
    BUNDLE_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    INT8_FILE,
    INT8_WEIGHTS_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Bundle,
    load_bundle,
    read_golden,
    sha256_of,
)
from tweetclf.engines.choice import int8_serves_here

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


def write_bundle(
    model_dir: Path, bundle_dir: Path, int8: bool = True, say: Callable[[str], None] = lambda line: None
) -> Bundle:
    """Merge, check, trace and write everything that serving needs.

    Args:
        model_dir: holds adapter.safetensors, training.json and golden.jsonl.
        bundle_dir: is emptied first.
        int8: quantise the network for OpenVINO too.
        say: takes one line about the int8 network.

    Returns:
        The bundle, read back and checked.

    Raises:
        ExportError: the adapter does not reproduce its golden samples, or the tokenizer is another.
        TraceError: the trace differs from the eager model.
        QuantizationError: there is no int8 network that is close enough to it, and this machine would serve that.
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
        export_facts |= _int8_facts(classifier, encoder, facts["temperature"], bundle_dir, say)
    content = {
        "format_version": FORMAT_VERSION,
        **{name: facts[name] for name in CARRIED_FACTS},
        **{name: facts[name] for name in OPTIONAL_FACTS if name in facts},
        "export": export_facts,
        "files": {path.name: sha256_of(path) for path in sorted(bundle_dir.iterdir())},
    }
    (bundle_dir / BUNDLE_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return load_bundle(bundle_dir)


def _int8_facts(
    classifier: torch.nn.Module, encoder: TweetEncoder, temperature: float, bundle_dir: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the int8 network; leave it out where it cannot be had and this machine would not serve it anyway."""
    serves_here = int8_serves_here(configured_engine())
    try:
        facts = write_int8(classifier, encoder, temperature, bundle_dir / INT8_FILE)
    except QuantizationError as error:
        if serves_here:
            raise
        for name in (INT8_FILE, INT8_WEIGHTS_FILE):
            (bundle_dir / name).unlink(missing_ok=True)
        why = " ".join(str(error).split())
        say(f"warning: the bundle has no int8 network, which this machine would not serve: {why}")
        return {}
    use = "this machine serves it" if serves_here else "this machine serves float32"
    say(f"int8 against float32: {facts['gate']} ({facts['weight_bits']}-bit weights, {facts['setting']}; {use})")
    return {"int8": facts}


def configured_engine() -> str:
    """Return `engine` of the model-config.yaml that goes into the archive."""
    handler = (yaml.safe_load((ROOT / CONFIG_FILE).read_text(encoding="utf-8")) or {}).get("handler") or {}
    return str(handler.get("engine", "auto"))


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
