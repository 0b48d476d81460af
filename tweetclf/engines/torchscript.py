"""The traced TorchScript module: float32 on the CPU, half precision on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tweetclf.errors import BundleError


class TorchScriptEngine:
    """Run `model.pt` on one device.

    Args:
        model_path: a module traced by the export step; its forward takes input_ids (batch, tokens)
            int64 and attention_mask (batch, tokens) int64 and returns logits (batch, 2).
        device: `cpu`, or `cuda:N` as TorchServe assigns it.

    Raises:
        BundleError: the file is no TorchScript module, or the device is not there.
    """

    name = "torchscript"

    def __init__(self, model_path: Path, device: str = "cpu") -> None:
        self.device = device
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise BundleError(f"device is {device}; torch finds no GPU here; expected cpu, or a CUDA build of torch")
        try:
            module = torch.jit.load(str(model_path), map_location=self._device).eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise BundleError(f"{model_path.name} cannot be loaded as TorchScript; export again") from error
        self._half = self._device.type != "cpu"
        if self._half:
            module = module.half()
        self.tolerance = 1e-2 if self._half else 1e-4
        self._module = torch.jit.freeze(module)

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32 for one micro-batch, padded here to its longest tweet."""
        lengths = [len(ids) for ids in input_ids]
        ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(input_ids):
            ids[row, : lengths[row]] = tokens
            mask[row, : lengths[row]] = 1
        with torch.inference_mode():
            result = self._module(
                torch.from_numpy(ids).to(self._device, non_blocking=True),
                torch.from_numpy(mask).to(self._device, non_blocking=True),
            )
            return np.asarray(result.float().cpu().numpy(), dtype=np.float32)
