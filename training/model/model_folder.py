"""Write `model/`: adapter, facts and golden samples of one training run.

`python -m training.model.model_folder` writes the golden samples of a model folder again after a change of the
normaliser or of golden_texts.txt; the weights stay.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from training.arguments import command
from training.data.encoding import TweetEncoder
from training.data.whole_files import written_whole
from training.errors import TrainingError
from training.model.base_encoder import TOKENIZER_FILE, BaseEncoderError, resolve_base_encoder
from training.model.model import ADAPTER_FILE, FACTS_FILE, AdapterError, TweetClassifier, load_merged, save_adapter
from tweetclf.bundle import sha256_of
from tweetclf.text import NORMALISER_VERSION, normalise

GOLDEN_FILE = "golden.jsonl"
GOLDEN_TEXTS_FILE = "golden_texts.txt"
MAX_BYTES = 3_000_000
TRAINED_WITH = "trained_with_normaliser"
EXAMPLE = """example:
  python -m training.model.model_folder                           the golden samples of model/
"""


def write_model_folder(
    tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], version_date: str, model_dir: Path, base: Path
) -> dict[str, Any]:
    """Write adapter.safetensors, training.json and golden.jsonl; replace what was there only when all is well.

    Golden answers come from the reloaded, merged model: they are what every other process can reproduce.

    Args:
        tensors: the adapter as `training.model.model.stored` returns it.
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
    text = (files("training.model") / GOLDEN_TEXTS_FILE).read_text(encoding="utf-8")
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


def renew_golden(model_dir: Path, base: Path) -> dict[str, Any]:
    """Write golden.jsonl again, with this package's normaliser and golden texts.

    The model gets another version, since it answers otherwise. Its facts name the normaliser that it was trained with.

    Args:
        model_dir: holds adapter.safetensors and training.json.
        base: folder of the base encoder that the adapter belongs to.

    Returns:
        The facts as written.
    """
    merged, facts = load_merged(model_dir, base)
    trained_with = facts.pop(TRAINED_WITH, facts["normaliser_version"])
    date, _, hash_and_suffix = facts["model_version"].partition("-")
    suffix = hash_and_suffix.partition("-")[2]
    facts["model_version"] = _version(model_dir / ADAPTER_FILE, date, suffix)
    facts["normaliser_version"] = NORMALISER_VERSION
    if trained_with != NORMALISER_VERSION:
        facts[TRAINED_WITH] = trained_with
    with written_whole(model_dir / GOLDEN_FILE) as path:
        path.write_text(_golden_lines(merged, base, facts["max_tokens"]), encoding="utf-8")
    with written_whole(model_dir / FACTS_FILE) as path:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the golden samples again; return the exit status (0 done, 1 refused)."""
    parser = command("model_folder", "Write the golden samples of a model folder again; the weights stay.", EXAMPLE)
    parser.add_argument("--model", type=Path, default=Path("model"), help="its folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        facts = renew_golden(options.model, resolve_base_encoder())
    except (TrainingError, AdapterError, BaseEncoderError) as error:
        print(f"golden samples refused: {error}", file=sys.stderr)
        return 1
    print(f"{options.model / GOLDEN_FILE}: model {facts['model_version']}, normaliser {facts['normaliser_version']}")
    return 0


def _write(
    tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], version_date: str, folder: Path, base: Path
) -> dict[str, Any]:
    save_adapter(tensors, folder)
    date, _, suffix = version_date.partition("+")
    written = {"model_version": _version(folder / ADAPTER_FILE, date, suffix), **facts}
    (folder / FACTS_FILE).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    merged, _ = load_merged(folder, base)
    (folder / GOLDEN_FILE).write_text(_golden_lines(merged, base, written["max_tokens"]), encoding="utf-8")
    return written


def _version(adapter: Path, date: str, suffix: str) -> str:
    """Return date and hash of what answers depend on besides the recipe: the weights and the normaliser."""
    digest = hashlib.sha256(f"{sha256_of(adapter)} normaliser {NORMALISER_VERSION}".encode()).hexdigest()
    return f"{date}-{digest[:8]}" + (f"-{suffix}" if suffix else "")


def _golden_lines(classifier: TweetClassifier, base: Path, max_tokens: int) -> str:
    samples = golden_samples(classifier, base, golden_texts(), max_tokens)
    return "".join(json.dumps(sample) + "\n" for sample in samples)


if __name__ == "__main__":
    sys.exit(main())
