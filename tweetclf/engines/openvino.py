"""The static int8 network in OpenVINO, on CPUs with instructions for 8-bit dot products."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from tweetclf.errors import BundleError


def import_openvino() -> ModuleType:
    """Import openvino without the package through which it and nncf report their use to their maker.

    Raises:
        BundleError: openvino is not installed.

    Source: openvino 2026.4, tools/ovc/telemetry_utils.py; nncf 3.4, telemetry/wrapper.py: both run without it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module("openvino")
    except ImportError as error:
        raise BundleError(
            f"the engine openvino needs the package openvino ({error}); install requirements/serve.txt, or set "
            "engine: torchscript in model-config.yaml"
        ) from error


class OpenVinoEngine:
    """Run `model_int8.xml` on the CPU; a tweet's logits are the same bits whatever its neighbours.

    Two things make it so: scales are constants of the file, not of the batch, and lengths are padded to a
    multiple of `length_step`, so that every float32 sum over tokens is cut into vectors in one way only
    (docs/log.md has the proof on 1,024 tweets).

    Args:
        model_path: the `.xml`; its `.bin` lies beside it. Inputs input_ids and attention_mask, both
            (batch, tokens) int64; output logits (batch, 2).
        device: an OpenVINO device; only `CPU` is proven.
        threads: threads of one inference, >= 1.
        length_step: tokens; a multiple of the float32 lanes of the CPU's vectors.

    Raises:
        BundleError: openvino is not installed, or the files are no model of it.
    """

    name = "openvino"
    # Of a probability: quantisation moved the score by at most 0.08 on 2,048 real tweets (docs/log.md). A model
    # that was swapped, or cut off from its weights, is far beyond on some golden sample.
    tolerance = 0.1

    def __init__(self, model_path: Path, device: str = "CPU", threads: int = 1, length_step: int = 16) -> None:
        openvino = import_openvino()
        self.device = device.lower()
        self._length_step = length_step
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # What is not int8 stays float32, also where the CPU would take bfloat16 by itself.
            "INFERENCE_PRECISION_HINT": "f32",
            # Workers are separate processes: pinned ones would all sit on the first cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._request = openvino.Core().compile_model(model_path, device, settings).create_infer_request()
        except RuntimeError as error:
            raise BundleError(f"{model_path.name} cannot be loaded as an OpenVINO model; export again") from error

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32 for one micro-batch, padded here to a multiple of the length step."""
        lengths = [len(ids) for ids in input_ids]
        tokens = -(-max(lengths) // self._length_step) * self._length_step
        ids = np.zeros((len(lengths), tokens), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, row_ids in enumerate(input_ids):
            ids[row, : lengths[row]] = row_ids
            mask[row, : lengths[row]] = 1
        self._request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
        # The request's memory is used again by the next micro-batch.
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)
