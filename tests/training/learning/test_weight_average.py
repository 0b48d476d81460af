"""The average of the trained weights is Lightning's to the bit, and leaves whole numbers whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.learning.settings import Settings
from training.learning.weight_average import TrainedWeightAveraging, share_frozen
from training.train import train

MakeSettings = Callable[..., Settings]


def test_train_with_the_average_of_trained_weights_gives_the_same_bits_as_that_of_all(
    tiny_settings: MakeSettings, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny_settings(f"model_dir={tmp_path / 'ours'}"), tiny_base)
    monkeypatch.setattr(
        "training.learning.fitting.TrainedWeightAveraging",
        lambda decay: WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(decay)),
    )
    train(tiny_settings(f"model_dir={tmp_path / 'theirs'}"), tiny_base)
    ours, theirs = (load_file(tmp_path / name / "adapter.safetensors") for name in ("ours", "theirs"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("decay", [0.9, 0.995])
def test_average_leaves_positions_alone_with_any_decay(decay: float) -> None:
    callback = TrainedWeightAveraging(decay)
    model = nn.Linear(2, 2)
    model.register_buffer("positions", torch.arange(512))
    average = AveragedModel(model, use_buffers=callback._use_buffers, **callback._kwargs)
    for _ in range(20):
        average.update_parameters(model)
    assert torch.equal(average.module.positions, torch.arange(512))


def test_average_moves_what_is_trained_and_shares_what_is_frozen() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    average = AveragedModel(model, use_buffers=False, **TrainedWeightAveraging(0.9)._kwargs)
    share_frozen(average.module, model)
    before = model[1].weight.detach().clone()
    average.update_parameters(model)  # the first is a copy
    with torch.no_grad():
        model[1].weight += 1.0
    average.update_parameters(model)
    assert torch.allclose(average.module[1].weight, before + 0.1)
    assert average.module[0].weight.data_ptr() == model[0].weight.data_ptr()
