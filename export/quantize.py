"""Make the static int8 network for OpenVINO, and refuse it when it answers otherwise than the trained one.

Weights become int8 and every activation gets one scale, fixed here on our own written tweets, so that no
scale depends on the tweets of a batch.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from export.packed import PackedClassifier
from export.padded import PaddedClassifier
from export.trace import TRACED_SHAPE, random_batch
from training.encoding import TweetEncoder, pad
from tweetclf.calibration import scores
from tweetclf.engines import Engine
from tweetclf.engines.choice import length_step
from tweetclf.engines.openvino import OpenVinoEngine, import_openvino
from tweetclf.errors import BundleError
from tweetclf.text import has_content, normalise

ROOT = Path(__file__).resolve().parent.parent
CALIBRATION_FILE = Path(__file__).with_name("calibration_texts.txt")
REAL_TWEETS_VARIABLE = "DISASTER_TWEETS_DATA"
HELD_OUT_EVERY = 4  # each fourth calibration text is kept back for the gate
REAL_TWEETS = 1_024  # spread evenly over the file
LOWEST_AGREEMENT = 0.985
GATE_BATCH = 16
# The widest inputs, with the outliers, are those of the second feed-forward matrix: in int8 it costs most agreement.
KEPT_FLOAT32 = r".*feed_out/.*MatMul.*"


class QuantizationError(RuntimeError):
    """The int8 network cannot be made, or is too far from the trained one to be served."""


@dataclass(frozen=True)
class Fidelity:
    """How close the int8 answers are to the float32 ones.

    Args:
        texts: `real tweets`, or `own-written tweets held out` where there are none.
        n: how many.
        agreement: share of equal labels.
        mean_score_drift: mean absolute difference of the calibrated score.
        p99_score_drift: its 99th percentile.
        largest_score_drift: its maximum.
    """

    texts: str
    n: int
    agreement: float
    mean_score_drift: float
    p99_score_drift: float
    largest_score_drift: float


def write_int8(classifier: nn.Module, encoder: TweetEncoder, temperature: float, path: Path) -> dict[str, Any]:
    """Quantise a classifier, prove it close to the original and write it.

    Args:
        classifier: eager, eval mode, float32, adapter merged; `encoder` a BertModel, `head` linear.
        encoder: tokenises as the served classifier does.
        temperature: of the calibrated score.
        path: the `.xml` to write; the `.bin` comes beside it.

    Returns:
        Facts for bundle.json: library versions, number of calibration texts, fidelity.

    Raises:
        QuantizationError: openvino or nncf is missing, or the agreement of labels is below LOWEST_AGREEMENT.
    """
    calibration, held_out = calibration_texts()
    quantize(classifier, encoder.encode([normalise(text) for text in calibration]), path)
    kind, texts = gate_texts(held_out)
    engine = OpenVinoEngine(path, threads=torch.get_num_threads(), length_step=length_step())
    encoded = encoder.encode([normalise(text) for text in texts])
    fidelity = measure_fidelity(classifier, engine, encoded, temperature, kind)
    require_fidelity(fidelity)
    return {
        "openvino": version("openvino"),
        "nncf": version("nncf"),
        "calibration_texts": len(calibration),
        "fidelity": asdict(fidelity),
    }


def quantize(classifier: nn.Module, calibration: Sequence[Sequence[int]], path: Path) -> None:
    """Write the static int8 form of a classifier, unproven.

    Args:
        classifier: eager, eval mode, float32; `encoder` a BertModel, `head` linear.
        calibration: token ids of the texts that fix the scales, special tokens included.
        path: the `.xml` to write; the `.bin` comes beside it.

    Raises:
        QuantizationError: openvino or nncf is missing.

    Source: NNCF 3.4, post-training quantization: SmoothQuant (arXiv:2211.10438) at its default for
    transformers, symmetric weights and asymmetric activations (preset MIXED), fast bias correction.
    """
    try:
        openvino = import_openvino()
        import nncf
        from nncf.quantization.advanced_parameters import OverflowFix
    except (BundleError, ImportError) as error:
        raise QuantizationError(
            f"the int8 network needs openvino and nncf ({error}); install requirements/export.txt, or export "
            "without --int8"
        ) from error
    nncf.set_log_level("ERROR")
    padded = PaddedClassifier(PackedClassifier(classifier.encoder, classifier.head)).eval()
    example = dict(zip(("input_ids", "attention_mask"), random_batch(*TRACED_SHAPE, seed=0), strict=True))
    grid = [(name, [-1, -1], openvino.Type.i64) for name in example]
    with torch.no_grad():
        model = openvino.convert_model(padded, example_input=example, input=grid)
    items = [{"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)} for ids in calibration]
    # nncf draws its progress bars into files and pipes too.
    with nullcontext() if sys.stdout.isatty() else redirect_stdout(io.StringIO()):
        model = nncf.quantize(
            model,
            nncf.Dataset(items),
            subset_size=len(items),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(patterns=[KEPT_FLOAT32]),
            # 7-bit weights: CPUs without VNNI add pairs of products in 16 bits, which 8-bit weights overflow.
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
        )
    openvino.save_model(model, path, compress_to_fp16=False)


def calibration_texts(path: Path = CALIBRATION_FILE) -> tuple[list[str], list[str]]:
    """Return (texts that fix the scales, texts held out for the gate); a line holds one JSON string."""
    texts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    held_out = texts[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return [text for index, text in enumerate(texts, start=1) if index % HELD_OUT_EVERY], held_out


def gate_texts(held_out: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name and the texts of the gate: real tweets where they are, else those held out.

    Args:
        held_out: own-written tweets.

    Raises:
        QuantizationError: the folder of real tweets was named and lacks test.csv.
    """
    named = os.environ.get(REAL_TWEETS_VARIABLE)
    path = Path(named or ROOT.parent / "shared" / "data") / "test.csv"
    if not path.is_file():
        if named:
            raise QuantizationError(f"{REAL_TWEETS_VARIABLE} is {named}; expected a folder with test.csv, or unset it")
        return "own-written tweets held out", list(held_out)
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if has_content(normalise(row["text"]))]
    return "real tweets", texts[:: max(1, len(texts) // REAL_TWEETS)][:REAL_TWEETS]


def measure_fidelity(
    classifier: nn.Module, engine: Engine, encoded: Sequence[Sequence[int]], temperature: float, kind: str
) -> Fidelity:
    """Compare an engine with the eager model.

    Args:
        classifier: eager, float32.
        engine: the one under test.
        encoded: token ids of each text.
        temperature: of the calibrated score.
        kind: name of the texts.
    """
    expected = np.empty((len(encoded), 2), dtype=np.float32)
    found = np.empty_like(expected)
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    for start in range(0, len(order), GATE_BATCH):
        rows = order[start : start + GATE_BATCH]
        batch = [encoded[row] for row in rows]
        expected[rows] = _eager_logits(classifier, batch)
        found[rows] = engine.logits(batch)
    drift = np.abs(scores(found, temperature) - scores(expected, temperature))
    agreement = float(np.mean(found.argmax(1) == expected.argmax(1)))
    figures = (agreement, drift.mean(), np.quantile(drift, 0.99), drift.max())
    return Fidelity(kind, len(encoded), *(round(float(figure), 4) for figure in figures))


def require_fidelity(fidelity: Fidelity) -> None:
    """Raise QuantizationError unless enough labels are equal."""
    if fidelity.agreement < LOWEST_AGREEMENT:
        raise QuantizationError(
            f"the int8 network gives {fidelity.agreement:.2%} of {fidelity.n} {fidelity.texts} the label of the "
            f"trained one; expected at least {LOWEST_AGREEMENT:.1%} (largest drift of a score "
            f"{fidelity.largest_score_drift}): add calibration texts like those it fails on, or export without --int8"
        )


def _eager_logits(classifier: nn.Module, batch: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(classifier(*pad(batch)).numpy(), dtype=np.float32)
