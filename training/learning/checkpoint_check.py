"""Refuse a checkpoint that this training cannot go on from, before the data is read twice."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from training.errors import TrainingError


def check_checkpoint(path: Path, module: nn.Module) -> None:
    """Raise TrainingError when `path` is no checkpoint, or one of another model; names the first difference."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except Exception as error:  # torch answers a damaged file with RuntimeError, UnpicklingError, EOFError or KeyError
        raise TrainingError(
            f"ckpt_path is {path}, which is no checkpoint ({type(error).__name__}); expected a last.ckpt of "
            "`python -m training.train`; start anew with ckpt_path="
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wrong = [name for name in sorted(expected.keys() | shapes.keys()) if expected.get(name) != shapes.get(name)]
    if wrong:
        raise TrainingError(
            f"{path} is of another model: {wrong[0]} is {shapes.get(wrong[0], 'missing')} there and "
            f"{expected.get(wrong[0], 'missing')} here, as {len(wrong)} in all; expected the settings that it was "
            "trained with"
        )
