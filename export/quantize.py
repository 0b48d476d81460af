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
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from export.packed import PackedNetwork
from export.trace import EXAMPLE_ROWS
from training.encoding import TweetEncoder, pad
from tweetclf.calibration import scores
from tweetclf.engines import Engine
from tweetclf.engines.openvino import OpenVinoEngine, import_openvino
from tweetclf.engines.packing import Packed, pack
from tweetclf.engines.processor import fast_in_int8, length_step
from tweetclf.errors import BundleError
from tweetclf.text import has_content, normalise

ROOT = Path(__file__).resolve().parent.parent
CALIBRATION_FILE = Path(__file__).with_name("calibration_texts.txt")
REAL_TWEETS_VARIABLE = "DISASTER_TWEETS_DATA"
HELD_OUT_EVERY = 4  # each fourth calibration text is kept back for the gate
REAL_TWEETS = 1_024  # spread evenly over the file
LOWEST_AGREEMENT = 0.985
GATE_BATCH = 16


class QuantizationError(RuntimeError):
    """The int8 network cannot be made, or is too far from the trained one to be served."""


@dataclass(frozen=True)
class Setting:
    """What is left out of int8, fastest first in SETTINGS.

    Args:
        name: for bundle.json.
        float32: pattern of the matrix products that stay float32; "" for none.
    """

    name: str
    float32: str


# OpenVINO 2026.4 shifts the logits when the head behind the sum over tokens is int8: by 0.16 on average, against 0.01
# with its low-precision passes off (docs/log.md). It has two rows and costs nothing.
HEAD = r".*head/.*"
# The widest inputs, with the outliers, are those of the second feed-forward matrices: in int8 they cost most agreement,
# in float32 most time. The first setting that passes the gate is taken.
SETTINGS = (
    Setting("all matrices in int8", ""),
    Setting("last feed-forward output in float32", r".*layers\.{last}\.feed_out/.*MatMul.*"),
    Setting("feed-forward outputs in float32", r".*feed_out/.*MatMul.*"),
)


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
    """Quantise a classifier with the fastest setting that stays close to the original.

    Args:
        classifier: eager, eval mode, float32, adapter merged; `encoder` a BertModel, `head` linear.
        encoder: tokenises as the served classifier does.
        temperature: of the calibrated score.
        path: the `.xml` to write; the `.bin` comes beside it.

    Returns:
        Facts for bundle.json: library versions, calibration texts, weight bits, the setting taken and its fidelity,
        and the settings that were refused with theirs. The gate's texts chose among the settings.

    Raises:
        QuantizationError: openvino or nncf is missing, or every setting is below LOWEST_AGREEMENT.
    """
    calibration, held_out = calibration_texts()
    calibration_ids = encoder.encode([normalise(text) for text in calibration])
    kind, texts = gate_texts(held_out)
    encoded = encoder.encode([normalise(text) for text in texts])
    # Without VNNI, pairs of products are added in 16 bits, which 8-bit weights overflow: not to be judged there.
    weight_bits = 8 if fast_in_int8() else 7
    refused: list[dict[str, Any]] = []
    for setting in SETTINGS:
        quantize(classifier, calibration_ids, path, setting, weight_bits)
        engine = OpenVinoEngine(path, threads=torch.get_num_threads(), length_step=length_step())
        fidelity = measure_fidelity(classifier, engine, encoded, temperature, kind)
        if fidelity.agreement >= LOWEST_AGREEMENT:
            break
        refused.append({"setting": setting.name, "agreement": fidelity.agreement})
    require_fidelity(fidelity)
    return {
        "openvino": version("openvino"),
        "nncf": version("nncf"),
        "calibration_texts": len(calibration),
        "weight_bits": weight_bits,
        "setting": setting.name,
        "refused_settings": refused,
        "fidelity": asdict(fidelity),
    }


def quantize(
    classifier: nn.Module,
    calibration: Sequence[Sequence[int]],
    path: Path,
    setting: Setting = SETTINGS[0],
    weight_bits: int = 8,
) -> None:
    """Write the static int8 form of a classifier, unproven.

    Args:
        classifier: eager, eval mode, float32; `encoder` a BertModel, `head` linear.
        calibration: token ids of the texts that fix the scales, special tokens included.
        path: the `.xml` to write; the `.bin` comes beside it.
        setting: what stays float32.
        weight_bits: 8, or 7 for CPUs whose 16-bit sums 8-bit weights overflow.

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
            "with --no-int8"
        ) from error
    nncf.set_log_level("ERROR")
    network = PackedNetwork(classifier.encoder, classifier.head).eval()
    patterns = [HEAD, *([setting.float32.format(last=len(network.layers) - 1)] if setting.float32 else [])]
    with torch.no_grad():
        model = openvino.convert_model(network, **_inputs(openvino))
    # nncf draws its progress bars into files and pipes too.
    with nullcontext() if sys.stdout.isatty() else redirect_stdout(io.StringIO()):
        model = nncf.quantize(
            model,
            nncf.Dataset([pack([ids])._asdict() for ids in calibration]),
            subset_size=len(calibration),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(patterns=patterns),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.DISABLE if weight_bits == 8 else OverflowFix.ENABLE
            ),
        )
    openvino.save_model(model, path, compress_to_fp16=False)


def _inputs(openvino: ModuleType) -> dict[str, Any]:
    """Return the example and the dynamic shapes of the network's inputs, the fields of `Packed`."""
    example = pack(EXAMPLE_ROWS, length_step=8)
    types = {"int32": openvino.Type.i32, "float32": openvino.Type.f32}
    shapes = Packed([-1], [-1], [-1, -1], [-1], [-1, 1, 1, -1], [-1, -1, 1])  # type: ignore[arg-type]
    return {
        "example_input": {name: torch.from_numpy(field) for name, field in example._asdict().items()},
        "input": [
            (name, shape, types[str(field.dtype)])
            for name, shape, field in zip(Packed._fields, shapes, example, strict=True)
        ],
    }


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
            f"{fidelity.largest_score_drift}): add calibration texts like those it fails on, or export with --no-int8"
        )


def _eager_logits(classifier: nn.Module, batch: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(classifier(*pad(batch)).numpy(), dtype=np.float32)
