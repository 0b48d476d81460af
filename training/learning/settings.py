"""The training configuration as frozen dataclasses; Hydra's objects stop here."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from training.data.datamodule import DataSettings
from training.errors import TrainingError
from training.learning.lightning_module import LearningSettings
from training.learning.profiling import PROFILERS
from training.learning.teachers import TeacherSettings
from training.model.model import LoraSettings

T = TypeVar("T")


@dataclass(frozen=True)
class ModelSettings:
    """What is built.

    Args:
        num_hidden_layers: of the base encoder, from the input on.
        attention: implementation in transformers; "eager" trains faster on a CPU
            (docs/log/2026-11.md#training-on-two-shared-cores).
        encoder_dropout: of hidden states and attention weights, in [0, 1).
        head_dropout: of the pooled vector, in [0, 1).
        tuning: "lora" trains a low-rank update, "full" every weight of the layers, of which the nearest low-rank update
            is kept.
        lora: size of the update.
        learning: the recipe.
    """

    num_hidden_layers: int
    attention: str
    encoder_dropout: float
    head_dropout: float
    tuning: str
    lora: LoraSettings
    learning: LearningSettings


@dataclass(frozen=True)
class TrainerSettings:
    """How the loop runs.

    Args:
        accelerator: "cpu", "gpu" or "auto", as Lightning names them.
        precision: "32-true", or "bf16-mixed": weights in 32 bits, most products in bf16.
        threads: of torch; part of the result, since sums depend on it. 0 leaves torch's choice.
        max_epochs: passes over the training rows.
        max_steps: stops earlier; -1 never.
        gradient_clip: largest norm of all gradients.
        check_every_epochs: dev figures while training.
        checks_per_epoch: dev figures so many times in such an epoch; what a search prunes by.
        profiler: see `training.learning.profiling`; "" for none.
    """

    accelerator: str
    precision: str
    threads: int
    max_epochs: int
    max_steps: int
    gradient_clip: float
    check_every_epochs: int
    checks_per_epoch: int
    profiler: str


@dataclass(frozen=True)
class CallbackSettings:
    """What happens beside the loop.

    Args:
        ema_decay: of the weights that are evaluated and saved; 0 takes the last weights.
        checkpoint_every_steps: how much a killed run loses.
        early_stop_epochs: without a better dev F1 before stopping; 0 never stops early.
        report_every_steps: a line with rate and remaining time where no terminal shows a bar.
    """

    ema_decay: float
    checkpoint_every_steps: int
    early_stop_epochs: int
    report_every_steps: int


@dataclass(frozen=True)
class LoggerSettings:
    """Where the curves go.

    Args:
        kind: "tensorboard", "csv", "wandb" or "none".
        project: at Weights & Biases.
        mode: of Weights & Biases, "online" or "offline"; an offline run is sent later by `wandb sync`.
    """

    kind: str
    project: str = "disaster-tweets"
    mode: str = "offline"


@dataclass(frozen=True)
class Settings:
    """One training run.

    Args:
        seed: of initial weights, dropout, order of batches.
        data_dir: holds the prepared table.
        output_dir: checkpoints and curves.
        model_dir: where adapter, facts and golden samples are written; "" writes none.
        ckpt_path: a checkpoint to go on from; "" starts anew.
        version_suffix: marks a model that is not to be served for good, e.g. "debug".
        data, model, teacher, trainer, callbacks, logger: see their classes.
    """

    seed: int
    data_dir: str
    output_dir: str
    model_dir: str
    ckpt_path: str
    version_suffix: str
    data: DataSettings
    model: ModelSettings
    teacher: TeacherSettings
    trainer: TrainerSettings
    callbacks: CallbackSettings
    logger: LoggerSettings

    def __post_init__(self) -> None:
        _expect("logger.kind", self.logger.kind, ("tensorboard", "csv", "wandb", "none"))
        _expect("logger.mode", self.logger.mode, ("online", "offline"))
        _expect("trainer.precision", self.trainer.precision, ("32-true", "bf16-mixed"))
        _expect("trainer.profiler", self.trainer.profiler, PROFILERS)
        _expect("model.tuning", self.model.tuning, ("lora", "full"))
        _expect("model.attention", self.model.attention, ("eager", "sdpa"))
        _expect("trainer.accelerator", self.trainer.accelerator, ("cpu", "gpu", "auto"))
        if not 0.0 <= self.callbacks.ema_decay < 1.0:
            raise TrainingError(f"callbacks.ema_decay is {self.callbacks.ema_decay}; expected a share in [0, 1)")
        if self.ckpt_path and not Path(self.ckpt_path).is_file():
            raise TrainingError(
                f"ckpt_path is {self.ckpt_path}; expected a checkpoint file; look below {self.output_dir}"
            )


def read_settings(content: Mapping[str, Any]) -> Settings:
    """Return the settings of a plain mapping, as Hydra composed it.

    Raises:
        TrainingError: a key is unknown or missing, or a value has the wrong type; names its path.
    """
    return _build(Settings, content, "")


def read_group(kind: type[T], content: Any, path: str) -> T:
    """Return the settings of one group, a frozen dataclass, of a plain mapping; as `read_settings` does.

    Raises:
        TrainingError: as `read_settings`; `path` goes before the names.
    """
    return _build(kind, content, path)


def _build(kind: type[T], content: Any, path: str) -> T:
    if not isinstance(content, Mapping):
        raise TrainingError(f"{path} is {content!r}; expected a group of settings")
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(map(str, content.keys() - names))
    missing = sorted(names - content.keys())
    if unknown or missing:
        raise TrainingError(f"{path or 'the configuration'} has unknown keys {unknown} and lacks {missing}")
    return kind(**{name: _value(hints[name], content[name], f"{path}.{name}".lstrip(".")) for name in names})


def _value(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise TrainingError(f"{path} is {value!r}; expected a list")
        return tuple(_value(typing.get_args(hint)[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        name = hint.__name__ if isinstance(hint, type | types.GenericAlias) else str(hint)
        raise TrainingError(f"{path} is {value!r}; expected {name}")
    return value


def _expect(path: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TrainingError(f"{path} is {value!r}; expected one of {list(allowed)}")
