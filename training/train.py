"""Fine-tune the classifier and write `model/`: `python -m training.train`.

Everything is set by Hydra: `python -m training.train experiment=default data_dir=data/processed seed=1`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf

from training.base_encoder import TOKENIZER_FILE, BaseEncoderError, base_encoder_facts, resolve_base_encoder
from training.batches import BucketedBatches
from training.calibrate import fit_temperature
from training.datamodule import DEV_DISTINCT, DEV_T6, TweetDataModule
from training.errors import TrainingError
from training.figures import decision_figures, figures
from training.fitting import check_machine, fit
from training.lightning_module import ClassifierModule
from training.model import LABELS, AdapterError, TweetClassifier, add_lora, load_base
from training.model_folder import write_model_folder
from training.risk_control import fit_band, risk_table
from training.settings import Settings, read_settings
from training.splits import CALIBRATION, DEV
from tweetclf.calibration import scores
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


def train(settings: Settings, base: Path | None = None) -> TrainResult:
    """Train, evaluate, calibrate and write the model folder.

    Args:
        settings: the run.
        base: folder of the base encoder; None resolves the pinned one.

    Raises:
        TrainingError: data, machine or settings do not allow it, or the loss is not finite.
        BaseEncoderError: the base encoder is missing or another.
    """
    check_machine(settings)
    base = base or resolve_base_encoder()
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    pl.seed_everything(settings.seed, verbose=False)
    data = TweetDataModule(Path(settings.data_dir), base / TOKENIZER_FILE, settings.data, settings.seed)
    data.setup()
    log.info("rows: %s", {part: len(rows) for part, rows in data.parts.items()})
    classifier = build_classifier(base, settings)
    module = ClassifierModule(classifier, settings.model.learning, settings.seed)
    train_seconds = fit(settings, module, data)
    facts = evaluate(classifier, data)
    dev_f1 = float(facts["dev"]["f1"])
    facts |= _facts(settings, data, base, train_seconds)
    if settings.model_dir:
        date = f"{datetime.now(timezone.utc):%Y.%m.%d}+{settings.version_suffix}"
        facts = write_model_folder(classifier.cpu(), facts, date, Path(settings.model_dir), base)
        log.info("%s: model %s", settings.model_dir, facts["model_version"])
    log.info("dev: %s; trained in %.0f s", json.dumps(facts["dev"]), train_seconds)
    return TrainResult(dev_f1, facts)


def build_classifier(base: Path, settings: Settings) -> TweetClassifier:
    """Return the classifier to train: base layers with LoRA and a fresh head."""
    model = settings.model
    encoder = load_base(base, model.num_hidden_layers, model.attention, model.encoder_dropout)
    return add_lora(TweetClassifier(encoder, model.head_dropout), model.lora)


def predict_logits(
    classifier: TweetClassifier, batches: BucketedBatches
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return logits (rows, 2) float32 and targets (rows,), in the order of the batches."""
    classifier.eval()
    device = next(classifier.parameters()).device
    logits, targets = [], []
    with torch.inference_mode():
        for batch in batches:
            found = classifier(batch["input_ids"].to(device), batch["attention_mask"].to(device))
            logits.append(found.float().cpu().numpy())
            targets.append(batch["targets"].numpy())
    return np.concatenate(logits), np.concatenate(targets)


def evaluate(classifier: TweetClassifier, data: TweetDataModule) -> dict[str, Any]:
    """Fit temperature and thresholds on the calibration part; return them with the figures of the dev part."""
    logits, targets = predict_logits(classifier, data.part_batches(CALIBRATION))
    temperature = fit_temperature(logits, targets)
    calibration_score = scores(logits, temperature)
    band = fit_band(calibration_score, targets)
    dev_logits, dev_targets = predict_logits(classifier, data.part_batches(DEV))
    score = scores(dev_logits, temperature)
    result: dict[str, Any] = {
        "temperature": temperature,
        "thresholds": {"not_disaster_below": band.not_disaster_below, "disaster_from": band.disaster_from},
        "calibration": {
            name: value for name, value in asdict(band).items() if name not in ("not_disaster_below", "disaster_from")
        },
        "risks": risk_table(calibration_score, targets),
        "dev": {
            **figures(score, dev_targets),
            **decision_figures(score, dev_targets, band.not_disaster_below, band.disaster_from),
        },
    }
    for part in (DEV_DISTINCT, DEV_T6):
        if len(data.parts[part]):
            part_logits, part_targets = predict_logits(classifier, data.part_batches(part))
            result[part] = figures(scores(part_logits, temperature), part_targets)
    return result


def _facts(settings: Settings, data: TweetDataModule, base: Path, train_seconds: float) -> dict[str, Any]:
    recipe = asdict(settings)
    for machine_bound in ("data_dir", "output_dir", "model_dir", "ckpt_path", "logger"):
        del recipe[machine_bound]
    return {
        "labels": list(LABELS),
        "max_tokens": settings.data.max_tokens,
        "num_hidden_layers": settings.model.num_hidden_layers,
        "normaliser_version": NORMALISER_VERSION,
        "base_model": dict(base_encoder_facts(base)),
        "lora": asdict(settings.model.lora),
        "data": data.data_facts(),
        "rows": {
            part: {str(source): int(count) for source, count in rows["source"].value_counts().items()}
            for part, rows in data.parts.items()
        },
        "seeds": {"training": settings.seed, "split": settings.data.split_seed},
        "recipe": recipe,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS_OF}},
        "train_seconds": round(train_seconds),
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
