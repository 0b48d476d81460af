"""The static int8 network in OpenVINO, on CPUs with instructions for 8-bit dot products."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from tweetclf.engines import warm_up_shapes
from tweetclf.engines.packing import pack
from tweetclf.errors import BundleError

PACKED_STEP = 16  # packed tokens: few shapes occur, since OpenVINO prepares each that it meets


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

    Three things make it so: scales are constants of the file, not of the batch; each token has a row of its own in
    every matrix product; and the width of the attention grid is a multiple of `length_step`, so that every float32
    sum over the tokens of a tweet is cut into vectors in one way only
    (measured: docs/log/2026-11.md#int8-independent-of-neighbours).

    Args:
        model_path: the `.xml`; its `.bin` is in the same folder. Inputs are the fields of `packing.Packed`; output
            logits (batch, 2).
        device: an OpenVINO device; only `CPU` is proven.
        threads: threads of one inference, >= 1.
        length_step: tokens; a multiple of the float32 lanes of the CPU's vectors.

    Raises:
        BundleError: openvino is not installed, or the files are no model of it.
    """

    name = "openvino"
    precision = "int8"
    # Of a probability: quantisation moved the score by at most 0.08 on 2,048 real tweets
    # (docs/log/2026-11.md#int8-packed-exact-fast-close). A model
    # that was swapped, or cut off from its weights, is far beyond on some golden sample.
    tolerance = 0.1
    # Some thirty tweets: more no longer stay in the second-level cache, fewer pay for every node again
    # (docs/log/2026-11.md#int8-packed-exact-fast-close).
    batch_tokens = 768

    def __init__(self, model_path: Path, device: str = "CPU", threads: int = 1, length_step: int = 16) -> None:
        openvino = import_openvino()
        self.device = device.lower()
        self._length_step = length_step
        core = openvino.Core()
        # Operations that are not int8 run in bfloat16 where the CPU has it: half the memory traffic, and scores move by
        # at most 0.002 (docs/log/2026-11.md#int8-bfloat16-rest).
        non_int8_precision = "bf16" if "BF16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES") else "f32"
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": non_int8_precision,
            # Workers are separate processes: pinned ones would all sit on the first cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._request = core.compile_model(model_path, device, settings).create_infer_request()
        except RuntimeError as error:
            raise BundleError(f"{model_path.name} cannot be loaded as an OpenVINO model; export again") from error

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32 for one micro-batch."""
        packed = pack(input_ids, packed_step=PACKED_STEP, length_step=self._length_step)
        self._request.infer(packed._asdict(), share_inputs=True)
        # The request's memory is used again by the next micro-batch.
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)

    def warm_up(self, max_tokens: int) -> None:
        """Run every usual shape once: the first run of a shape is the slow one."""
        for tweets, tokens in warm_up_shapes(self.batch_tokens, max_tokens):
            self.logits([[0] * tokens] * tweets)
