"""Open a bundle: the folder that holds one model and everything needed to answer with it.

A bundle is served only when every file has the content that its `bundle.json` states, and when this
package's normaliser is the one that its golden samples were made with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tweetclf.errors import BundleError
from tweetclf.text import NORMALISER_VERSION

BUNDLE_FILE = "bundle.json"
FORMAT_VERSION = 1
MODEL_FILE = "model.pt"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_FILE = "golden.jsonl"
INT8_FILE = "model_int8.xml"
INT8_WEIGHTS_FILE = "model_int8.bin"


@dataclass(frozen=True)
class Thresholds:
    """Where the model decides by itself; between the two a person looks.

    Args:
        not_disaster_below: a score below it is decided `not_disaster`, in [0, 1].
        disaster_from: a score from it on is decided `disaster`, in [0, 1], >= not_disaster_below.
    """

    not_disaster_below: float
    disaster_from: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.not_disaster_below <= self.disaster_from <= 1.0:
            raise BundleError(
                f"thresholds are not_disaster_below={self.not_disaster_below}, disaster_from={self.disaster_from}; "
                "expected 0 <= not_disaster_below <= disaster_from <= 1; correct them or export again"
            )


@dataclass(frozen=True)
class GoldenSample:
    """One tweet with what the training process said of it.

    Args:
        text: own-written tweet, raw.
        input_ids: its token ids, special tokens included.
        probabilities: softmax of the logits before temperature, in label order; sums to 1.
    """

    text: str
    input_ids: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Bundle:
    """A checked bundle; its fields are those of `bundle.json`.

    Args:
        path: the folder.
        model_version: date and short content hash; part of every answer.
        labels: names in logit order; the last is the positive class.
        max_tokens: longest input in tokens, special tokens included; the rest is cut.
        temperature: divides the logits before softmax; > 0.
        thresholds: the default band of `review`.
        files: file name -> sha256 of its content.
        facts: the whole of `bundle.json`, for describe and for the model card.
        golden: the samples that a process must reproduce before it may serve.
    """

    path: Path
    model_version: str
    labels: tuple[str, ...]
    max_tokens: int
    temperature: float
    thresholds: Thresholds
    files: Mapping[str, str]
    facts: Mapping[str, Any]
    golden: tuple[GoldenSample, ...]

    @property
    def model_path(self) -> Path:
        """Return the traced TorchScript module."""
        return self.path / MODEL_FILE

    @property
    def int8_path(self) -> Path | None:
        """Return the static int8 network in OpenVINO's format, or None: a bundle need not have one."""
        return self.path / INT8_FILE if INT8_FILE in self.files else None

    @property
    def int8_weight_bits(self) -> int:
        """Return 8, or 7 for weights that do not overflow the 16-bit sums of CPUs without VNNI."""
        facts = self.facts.get("export", {}).get("int8", {})
        return int(facts.get("weight_bits", 7))

    @property
    def tokenizer_path(self) -> Path:
        """Return the tokenizer in the `tokenizers` library's own format."""
        return self.path / TOKENIZER_FILE


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and refuse it unless every file is the one that was exported.

    Args:
        folder: holds `bundle.json` and the files that it lists.

    Returns:
        The checked bundle; the model itself is not loaded yet.

    Raises:
        BundleError: a file is missing or changed, a field is missing or of the wrong type, or the
            normaliser differs from the model's; says which, what was expected and what to do.
    """
    facts = _read_facts(folder)
    _check_files(folder, facts["files"])
    if facts["normaliser_version"] != NORMALISER_VERSION:
        raise BundleError(
            f"the model is for normaliser {facts['normaliser_version']!r}, this package has {NORMALISER_VERSION!r}; "
            "export again with the code that it is for, or make its golden samples again and compare its accuracy: "
            "python -m training.model.model_folder"
        )
    return Bundle(
        path=folder,
        model_version=facts["model_version"],
        labels=tuple(facts["labels"]),
        max_tokens=facts["max_tokens"],
        temperature=float(facts["temperature"]),
        thresholds=Thresholds(**facts["thresholds"]),
        files=dict(facts["files"]),
        facts=facts,
        golden=read_golden(folder / GOLDEN_FILE),
    )


def read_golden(path: Path) -> tuple[GoldenSample, ...]:
    """Read golden samples, one JSON object a line.

    Raises:
        BundleError: no sample, or a line that is not one.
    """
    samples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            raw = json.loads(line)
            samples.append(GoldenSample(raw["text"], tuple(raw["input_ids"]), tuple(raw["probabilities"])))
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{path.name} line {number} is no golden sample ({type(error).__name__}); "
                "expected text, input_ids, probabilities; export again"
            ) from error
    if not samples:
        raise BundleError(f"{path.name} is empty; expected at least one golden sample; export again")
    return tuple(samples)


_FIELD_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "format_version": int,
    "model_version": str,
    "labels": list,
    "max_tokens": int,
    "normaliser_version": str,
    "temperature": (int, float),
    "thresholds": dict,
    "files": dict,
}


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / BUNDLE_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{BUNDLE_FILE} is missing in {folder}; expected an exported bundle") from error
    except ValueError as error:
        raise BundleError(f"{BUNDLE_FILE} is not JSON ({error}); export again") from error
    if not isinstance(facts, dict):
        raise BundleError(f"{BUNDLE_FILE} holds a {type(facts).__name__}; expected an object; export again")
    for name, expected in _FIELD_TYPES.items():
        if not isinstance(facts.get(name), expected):
            raise BundleError(f"{BUNDLE_FILE}: {name!r} is {facts.get(name)!r}; expected {expected}; export again")
    if facts["format_version"] != FORMAT_VERSION:
        raise BundleError(
            f"{BUNDLE_FILE} has format {facts['format_version']}; this package reads {FORMAT_VERSION}; export again"
        )
    if facts["temperature"] <= 0:
        raise BundleError(f"{BUNDLE_FILE}: temperature is {facts['temperature']}; expected > 0; export again")
    return facts


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    for required in (MODEL_FILE, TOKENIZER_FILE, GOLDEN_FILE):
        if required not in files:
            raise BundleError(f"{BUNDLE_FILE} does not list {required}; export again")
    if (INT8_FILE in files) != (INT8_WEIGHTS_FILE in files):
        raise BundleError(f"{BUNDLE_FILE} lists one of {INT8_FILE}, {INT8_WEIGHTS_FILE}; expected both; export again")
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise BundleError(f"{name} is missing in {folder}; the bundle is incomplete; export again")
        found = sha256_of(path)
        if found != expected:
            raise BundleError(
                f"{name} has sha256 {found}; expected {expected}: the file is damaged or was replaced; export again"
            )
