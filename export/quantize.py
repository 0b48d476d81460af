"""Make the static int8 network for OpenVINO, and refuse it when it answers otherwise than the trained one.

Weights become int8 and every activation gets one scale, fixed here on our own written tweets, so that no
scale depends on the tweets of a batch.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn
from transformers import BertModel

from export.gate_texts import GateTextsError, calibration_texts, gate_texts
from export.int8_gate import Fidelity, measure_fidelity
from export.packed import PackedNetwork
from export.trace import EXAMPLE_ROWS
from training.data.encoding import TweetEncoder
from tweetclf.engines.openvino import OpenVinoEngine, import_openvino
from tweetclf.engines.packing import Packed, pack
from tweetclf.engines.processor import fast_in_int8, int8_instructions, length_step
from tweetclf.errors import BundleError
from tweetclf.text import normalise


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
# with its low-precision passes off (docs/log/2026-11.md#int8-drift-of-the-head). It has two rows and costs nothing.
HEAD = r".*head/.*"
# The widest inputs, with the outliers, are those of the second feed-forward matrices: in int8 they cost most agreement,
# in float32 most time. The first setting that passes the gate is taken.
SETTINGS = (
    Setting("all matrices in int8", ""),
    Setting("last feed-forward output in float32", r".*layers\.{last}\.feed_out/.*MatMul.*"),
    Setting("feed-forward outputs in float32", r".*feed_out/.*MatMul.*"),
)


def weight_bits() -> int:
    """Return the bits of the weights that this machine exports: 8, or 7 on a CPU without VNNI.

    Without VNNI, pairs of products are added in 16 bits, which 8-bit weights overflow.
    """
    return 8 if fast_in_int8() else 7


def write_int8(classifier: nn.Module, encoder: TweetEncoder, temperature: float, path: Path) -> dict[str, Any]:
    """Quantise a classifier with the fastest setting that stays close to the original, as this machine computes it.

    Args:
        classifier: eager, eval mode, float32, adapter merged; `encoder` a BertModel, `head` linear.
        encoder: tokenises as the served classifier does.
        temperature: of the calibrated score.
        path: the `.xml` to write; the `.bin` is written to the same folder.

    Returns:
        Facts for bundle.json: library versions, calibration texts, weight bits, the instructions that it was measured
        with, the setting taken and its fidelity, and the settings that were refused with theirs. The gate's texts
        chose among the settings.

    Raises:
        QuantizationError: openvino or nncf is missing or fails here, or no setting passes the gate.
    """
    calibration, held_out = calibration_texts()
    calibration_ids = encoder.encode([normalise(text) for text in calibration])
    try:
        kind, texts = gate_texts(held_out)
    except GateTextsError as error:
        raise QuantizationError(str(error)) from error
    encoded = encoder.encode([normalise(text) for text in texts])
    refused: list[dict[str, Any]] = []
    for setting in SETTINGS:
        try:
            quantize(classifier, calibration_ids, path, setting, weight_bits())
            engine = OpenVinoEngine(path, threads=torch.get_num_threads(), length_step=length_step())
            fidelity = measure_fidelity(classifier, engine, encoded, temperature, kind)
        except QuantizationError:
            raise
        except Exception as error:  # the errors of nncf and openvino have no common base
            raise QuantizationError(
                f"the int8 network cannot be made here ({type(error).__name__}: {error}); export with --no-int8"
            ) from error
        if fidelity.passes:
            break
        refused.append({"setting": setting.name, "agreement": fidelity.agreement})
    require_fidelity(fidelity)
    return {
        "openvino": version("openvino"),
        "nncf": version("nncf"),
        "calibration_texts": len(calibration),
        "weight_bits": weight_bits(),
        "measured_with": list(int8_instructions()),
        "setting": setting.name,
        "refused_settings": refused,
        "fidelity": {**asdict(fidelity), "agreement": fidelity.agreement, "margin": fidelity.margin},
        "gate": fidelity.summary(),
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
        path: the `.xml` to write; the `.bin` is written to the same folder.
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
    network = PackedNetwork(cast("BertModel", classifier.encoder), cast("nn.Linear", classifier.head)).eval()
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


def require_fidelity(fidelity: Fidelity) -> None:
    """Raise QuantizationError unless a network passes the gate."""
    if not fidelity.passes:
        raise QuantizationError(
            f"the int8 network differs too much from the trained one: {fidelity.summary()}; add calibration texts like "
            "those it fails on, or export with --no-int8"
        )
