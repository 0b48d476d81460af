"""Exponential moving average of the weights that are trained, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class TrainedWeightAveraging(WeightAveraging):
    """Lightning's, without the work that changes nothing.

    With LoRA 98 of 100 weights of three layers are frozen, with all layers tuned 69: they are shared with the average
    instead of averaged with themselves at each step, to the same bits. Buffers are copied: the average of whole numbers
    is cut off to a whole number, and with a decay of 0.9 Lightning's default makes position 3 a 2
    (docs/log/2026-11.md#training-step-profile).

    Args:
        decay: share of the average that stays at each step, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        average = get_ema_multi_avg_fn(decay)

        def of_those_apart(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], count: object) -> None:
            apart = [pair for pair in zip(averaged, current, strict=True) if pair[0].data_ptr() != pair[1].data_ptr()]
            if apart:
                average(*map(list, zip(*apart, strict=True)), count)

        super().__init__(use_buffers=False, multi_avg_fn=of_those_apart)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the average, and share with it what is frozen."""
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            share_frozen(self._average_model.module, pl_module)


def share_frozen(averaged: torch.nn.Module, current: torch.nn.Module) -> None:
    """Let the frozen parameters of a copy be those of the original, in place.

    Where the original moves to another device afterwards, both go their own ways again, and are averaged.
    """
    for copy, original in zip(averaged.parameters(), current.parameters(), strict=True):
        if not original.requires_grad:
            copy.data = original.data
