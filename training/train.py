"""Fine-tune the classifier and write `model/`: `python -m training.train`.

Everything is set by Hydra: `python -m training.train experiment=default data_dir=data/processed seed=1`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from training.calibration.calibrate import fit_scaling
from training.calibration.risk_control import fit_band, risk_table
from training.data.datamodule import DEV_DISTINCT, DEV_T6, Parts, TweetDataModule
from training.data.splits import CALIBRATION, DEV
from training.errors import TrainingError
from training.evaluation.figures import decision_figures, figures
from training.learning.energy import CostMeter
from training.learning.fitting import check_machine, fit
from training.learning.lightning_module import ClassifierModule
from training.learning.settings import Settings, read_settings
from training.learning.teaching import teach
from training.model.base_encoder import TOKENIZER_FILE, BaseEncoderError, base_encoder_facts, resolve_base_encoder
from training.model.building import adapter_scale, build_classifier, merged_classifier, predict_logits, stored_tensors
from training.model.model import LABELS, AdapterError
from training.model.model_folder import write_model_folder
from tweetclf.calibration import scores, shown
from tweetclf.text import NORMALISER_VERSION

VERSIONS_OF = ("torch", "transformers", "peft", "lightning", "tokenizers", "safetensors", "numpy", "scikit-learn")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run is worth.

    Args:
        dev_f1: of `disaster` on the dev part, at 0.5; what a search maximises.
        facts: content of training.json.
    """

    dev_f1: float
    facts: dict[str, Any]


def train(
    settings: Settings,
    base: Path | None = None,
    divide: Callable[[pd.DataFrame], Parts] | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> TrainResult:
    """Train, evaluate, calibrate and write the model folder.

    Args:
        settings: the run.
        base: folder of the base encoder; None resolves the pinned one.
        divide: makes the parts of the prepared table; None divides at random by the settings.
        callbacks: of the trainer, beside those of the settings.

    Raises:
        TrainingError: data, machine or settings do not allow it, or the loss is not finite.
        BaseEncoderError: the base encoder is missing or another.
    """
    check_machine(settings)
    meter = CostMeter()
    base = base or resolve_base_encoder()
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    pl.seed_everything(settings.seed, verbose=False)
    data = TweetDataModule(Path(settings.data_dir), base / TOKENIZER_FILE, settings.data, settings.seed, divide)
    data.setup()
    log.info("rows: %s", {part: len(rows) for part, rows in data.parts.items()})
    started = time.monotonic()
    if settings.data.teacher_weight:
        data.learn_from(teach(settings, data, base))
    teacher_seconds = time.monotonic() - started
    pl.seed_everything(settings.seed, verbose=False)
    classifier = build_classifier(base, settings.model)
    module = ClassifierModule(classifier, settings.model.learning, settings.seed)
    train_seconds = fit(settings, module, data, callbacks)
    # Judged is what is stored: low-rank, in half precision.
    tensors = stored_tensors(classifier, base, settings.model)
    facts = evaluate(tensors, settings, base, data)
    dev_f1 = float(facts["dev"]["f1"])
    facts |= _facts(settings, data, base, train_seconds, teacher_seconds)
    facts["cost"] = meter.cost()
    if settings.model_dir:
        date = f"{datetime.now(timezone.utc):%Y.%m.%d}+{settings.version_suffix}"
        facts = write_model_folder(tensors, facts, date, Path(settings.model_dir), base)
        log.info("%s: model %s", settings.model_dir, facts["model_version"])
    log.info("dev: %s; trained in %.0f s", json.dumps(facts["dev"]), train_seconds)
    return TrainResult(dev_f1, facts)


def evaluate(tensors: dict[str, torch.Tensor], settings: Settings, base: Path, data: TweetDataModule) -> dict[str, Any]:
    """Fit scaling and thresholds on the calibration part; return them with the figures of the dev part.

    The bias of the scaling is written into `head.bias` of `tensors`: every other process needs the temperature only.
    """
    classifier = merged_classifier(tensors, base, settings.model)
    logits, targets = predict_logits(classifier, data.part_batches(CALIBRATION))
    scaling = fit_scaling(logits, targets)
    tensors["head.bias"] = tensors["head.bias"] + torch.tensor([0.0, scaling.margin_bias])
    classifier = merged_classifier(tensors, base, settings.model)
    logits, _ = predict_logits(classifier, data.part_batches(CALIBRATION))
    temperature = scaling.temperature
    calibration_score = scores(logits, temperature)
    # Decisions follow from scores as answers show them, here as when served.
    band = fit_band(shown(calibration_score), targets)
    dev_logits, dev_targets = predict_logits(classifier, data.part_batches(DEV))
    score = scores(dev_logits, temperature)
    result: dict[str, Any] = {
        "temperature": temperature,
        "bias": scaling.bias,
        "thresholds": {"not_disaster_below": band.not_disaster_below, "disaster_from": band.disaster_from},
        "calibration": {
            name: value for name, value in asdict(band).items() if name not in ("not_disaster_below", "disaster_from")
        },
        "risks": risk_table(shown(calibration_score), targets),
        "dev": {
            **figures(score, dev_targets),
            **decision_figures(shown(score), dev_targets, band.not_disaster_below, band.disaster_from),
        },
    }
    # Steadier than dev alone when recipes are compared; only scaling and thresholds were fitted on a part of it.
    result["held_out"] = figures(np.concatenate([score, calibration_score]), np.concatenate([dev_targets, targets]))
    for part in (DEV_DISTINCT, DEV_T6):
        if len(data.parts[part]):
            part_logits, part_targets = predict_logits(classifier, data.part_batches(part))
            result[part] = figures(scores(part_logits, temperature), part_targets)
    return result


def _facts(
    settings: Settings, data: TweetDataModule, base: Path, train_seconds: float, teacher_seconds: float
) -> dict[str, Any]:
    recipe = asdict(settings)
    for machine_bound in ("data_dir", "output_dir", "model_dir", "ckpt_path", "logger"):
        del recipe[machine_bound]
    return {
        "labels": list(LABELS),
        "max_tokens": settings.data.max_tokens,
        "num_hidden_layers": settings.model.num_hidden_layers,
        "normaliser_version": NORMALISER_VERSION,
        "base_model": dict(base_encoder_facts(base)),
        "tuning": settings.model.tuning,
        "lora": {**asdict(settings.model.lora), "scale": adapter_scale(settings.model), "stored_as": "float16"},
        "softened_share": round(data.softened_share, 4),
        "data": data.data_facts(),
        "rows": {
            part: {str(source): int(count) for source, count in rows["source"].value_counts().items()}
            for part, rows in data.parts.items()
        },
        "seeds": {"training": settings.seed, "split": settings.data.split_seed},
        "recipe": recipe,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS_OF}},
        "train_seconds": round(train_seconds),
        "teacher_seconds": round(teacher_seconds),
        "trained_at": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
    }


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def main(config: DictConfig) -> float:
    """Train as configured; return the dev F1."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        result = train(read_settings(content))  # type: ignore[arg-type]  # the top of a config is a mapping
    except (TrainingError, AdapterError, BaseEncoderError) as error:
        print(f"training refused: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    print(f"dev F1 {result.dev_f1:.4f}")
    return result.dev_f1


if __name__ == "__main__":
    # The base encoder is a local file; tokenizers' own threads only fight with torch's.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
