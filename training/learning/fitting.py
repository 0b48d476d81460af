"""Run the loop: trainer, callbacks and loggers from settings."""

from __future__ import annotations

import errno
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar

from training.errors import TrainingError
from training.learning.checkpoint_check import check_checkpoint
from training.learning.curves import check_logger, close_logger, make_logger
from training.learning.lightning_module import DEV_METRIC
from training.learning.profiling import make_profiler
from training.learning.settings import CallbackSettings, Settings
from training.learning.weight_average import TrainedWeightAveraging

CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_NAME = "last"
_FREE_BYTES = 1_000_000_000  # two checkpoints of the base with its average, and the curves

log = logging.getLogger(__name__)


class RateReport(Callback):
    """Log a line with loss, tweets a second and remaining time, for runs without a terminal.

    Args:
        every_steps: between two lines.
    """

    def __init__(self, every_steps: int) -> None:
        self._every_steps = every_steps
        self._started = (0.0, 0)
        self._tweets = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = (time.monotonic(), trainer.global_step)
        self._tweets = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, and report now and then."""
        self._tweets += len(batch["targets"])
        step = trainer.global_step
        if step % self._every_steps == 0:
            since, first = self._started
            elapsed_s = time.monotonic() - since
            left_s = (trainer.estimated_stepping_batches - step) * elapsed_s / max(1, step - first)
            log.info(
                "step %d of %d, loss %.4f, %.0f tweets/s, %.0f s left",
                step,
                trainer.estimated_stepping_batches,
                float(outputs["loss"]),
                self._tweets / elapsed_s,
                left_s,
            )


def check_machine(settings: Settings) -> None:
    """Raise TrainingError, before any time is lost, when the machine cannot do what the settings ask for."""
    wants_gpu = settings.trainer.accelerator == "gpu"
    if wants_gpu and not torch.cuda.is_available():
        raise TrainingError(
            "trainer.accelerator is gpu and torch sees none; expected a CUDA device and a CUDA build of torch; use "
            "trainer.accelerator=cpu"
        )
    if settings.trainer.precision.startswith("bf16") and not wants_gpu and not _multiplies_bf16():
        log.warning("this CPU has no bf16 instructions: trainer.precision=32-true would be faster")
    check_logger(settings)
    output = Path(settings.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output).free
    if free < _FREE_BYTES:
        raise TrainingError(
            f"{output} has {free / 1e6:.0f} MB free; expected {_FREE_BYTES / 1e6:.0f} MB for checkpoints; make room or "
            "set output_dir"
        )


def fit(
    settings: Settings, module: pl.LightningModule, data: pl.LightningDataModule, callbacks: Sequence[Callback] = ()
) -> float:
    """Train `module` from the start or from the checkpoint of the settings; return the seconds that it took.

    Raises:
        TrainingError: the checkpoint does not fit, or the disk is full; names the checkpoint to go on from.
    """
    started = time.monotonic()
    if settings.ckpt_path:
        check_checkpoint(Path(settings.ckpt_path), module)
    trainer = make_trainer(settings, callbacks)
    with warnings.catch_warnings():
        # A resumed run means to write where it came from.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # Lightning 2.6 with torch 2.13: about their own pytrees, nothing that a reader could mend.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
        try:
            trainer.fit(module, datamodule=data, ckpt_path=settings.ckpt_path or None)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise TrainingError(_disk_full(settings, trainer)) from error
        finally:
            close_logger(settings)
    return time.monotonic() - started


def make_trainer(settings: Settings, callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """Return a trainer, with further callbacks after those of the settings; nothing runs yet."""
    output = Path(settings.output_dir)
    terminal = sys.stderr.isatty()
    return pl.Trainer(
        accelerator=settings.trainer.accelerator,
        devices=1,
        precision=settings.trainer.precision,  # type: ignore[arg-type]  # Lightning names them in a Literal
        max_epochs=settings.trainer.max_epochs,
        max_steps=settings.trainer.max_steps,
        gradient_clip_val=settings.trainer.gradient_clip,
        check_val_every_n_epoch=settings.trainer.check_every_epochs,
        val_check_interval=1.0 / settings.trainer.checks_per_epoch,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        profiler=make_profiler(settings.trainer.profiler, output),
        logger=make_logger(settings),
        callbacks=[*_callbacks(settings.callbacks, _checkpoint_folder(settings), terminal), *callbacks],
        enable_progress_bar=terminal,
        enable_model_summary=False,
        default_root_dir=output,
    )


def _multiplies_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _disk_full(settings: Settings, trainer: pl.Trainer) -> str:
    last = _checkpoint_folder(settings) / f"{CHECKPOINT_NAME}.ckpt"
    next_step = f"go on with ckpt_path={last}" if last.is_file() else "start again: there is no checkpoint yet"
    return f"{settings.output_dir} is full at step {trainer.global_step}; make room or set output_dir, and {next_step}"


def _checkpoint_folder(settings: Settings) -> Path:
    """Return where checkpoints go: a resumed run goes on in the folder of its checkpoint."""
    return Path(settings.ckpt_path).parent if settings.ckpt_path else Path(settings.output_dir) / CHECKPOINT_FOLDER


def _callbacks(settings: CallbackSettings, checkpoints: Path, terminal: bool) -> list[Callback]:
    callbacks: list[Callback] = [
        # One file, always the latest: what a killed run goes on from.
        ModelCheckpoint(
            dirpath=checkpoints,
            filename=CHECKPOINT_NAME,
            every_n_train_steps=settings.checkpoint_every_steps,
            enable_version_counter=False,
        ),
        TQDMProgressBar() if terminal else RateReport(settings.report_every_steps),
    ]
    if settings.ema_decay:
        callbacks.append(TrainedWeightAveraging(settings.ema_decay))
    if settings.early_stop_epochs:
        callbacks.append(EarlyStopping(DEV_METRIC, mode="max", patience=settings.early_stop_epochs))
    return callbacks
