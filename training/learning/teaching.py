"""Train the teachers with the student's own recipe, on more layers, and let them score what they have not read."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd

from training.data.batches import BucketedBatches
from training.data.datamodule import EVALUATION_BATCH, TweetDataModule
from training.data.splits import TRAIN
from training.learning.fitting import fit
from training.learning.lightning_module import ClassifierModule
from training.learning.settings import LoggerSettings, Settings
from training.learning.teachers import teacher_scores
from training.model.base_encoder import WEIGHTS_SHA256
from training.model.building import build_classifier, predict_logits
from training.model.model import TweetClassifier
from tweetclf.calibration import scores

TEACHERS_FOLDER = "teachers"


def teach(settings: Settings, data: TweetDataModule, base: Path) -> dict[str, float]:
    """Return id -> p(disaster) of each Kaggle row of the training part, by teachers that have not read it.

    Finished teachers' scores are kept in `data_dir/teachers`.

    Args:
        settings: the student's; a teacher differs in its layers and epochs and learns Kaggle's rows alone.
        data: set up.
        base: folder of the base encoder.
    """
    teacher = teacher_settings(settings)

    def train_teacher(rows: pd.DataFrame, seed: int, output: Path) -> TweetClassifier:
        run = dataclasses.replace(teacher, seed=seed, output_dir=str(output))
        pl.seed_everything(seed, verbose=False)
        classifier = build_classifier(base, run.model)
        module = ClassifierModule(classifier, run.model.learning, seed)
        fit(run, module, _Rows(data.batches_of(rows, run.data.batch_size, seed)))
        return classifier

    def score(classifier: TweetClassifier, rows: pd.DataFrame) -> np.ndarray:
        batches = data.batches_of(rows, EVALUATION_BATCH, shuffle=False)
        logits, _ = predict_logits(classifier, batches)
        found = np.empty(len(rows))
        found[np.concatenate(batches.order(0))] = scores(logits, 1.0)
        return found

    recipe = {
        "model": asdict(teacher.model),
        "trainer": {name: getattr(teacher.trainer, name) for name in ("precision", "threads", "gradient_clip")},
        "ema_decay": teacher.callbacks.ema_decay,
        "batch_size": teacher.data.batch_size,
        "agreement_weight": teacher.data.agreement_weight,
        "base": WEIGHTS_SHA256,
    }
    folder = Path(settings.data_dir) / TEACHERS_FOLDER
    return teacher_scores(data.parts[TRAIN], settings.teacher, recipe, folder, train_teacher, score)


def teacher_settings(settings: Settings) -> Settings:
    """Return the settings of a teacher: all weights tuned, no curves, no early stop, nothing written."""
    return dataclasses.replace(
        settings,
        model_dir="",
        ckpt_path="",
        model=dataclasses.replace(settings.model, num_hidden_layers=settings.teacher.num_hidden_layers, tuning="full"),
        trainer=dataclasses.replace(settings.trainer, max_epochs=settings.teacher.max_epochs, profiler=""),
        callbacks=dataclasses.replace(settings.callbacks, early_stop_epochs=0),
        logger=LoggerSettings("none"),
    )


class _Rows(pl.LightningDataModule):
    """Nothing but training batches, in the order of the trainer's step."""

    def __init__(self, batches: BucketedBatches) -> None:
        super().__init__()
        self._batches = batches

    def train_dataloader(self) -> BucketedBatches:
        """Return the batches; Lightning asks once."""
        return self._batches.from_step(lambda: self.trainer.global_step)  # type: ignore[union-attr]
