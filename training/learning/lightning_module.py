"""How the classifier learns: loss, optimiser, schedule, figures while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torchmetrics.classification import BinaryAUROC, BinaryF1Score

from training.data.batches import Batch
from training.errors import LossError
from training.model.model import TweetClassifier

DEV_METRIC = "dev/f1"


@dataclass(frozen=True)
class LearningSettings:
    """The recipe of one optimisation.

    Args:
        learning_rate: peak, of the low-rank matrices.
        head_learning_rate: peak, of the head.
        weight_decay: AdamW's, not on biases.
        warmup_share: of all steps, linear from 0; then linear to 0.
        label_smoothing: share of a label given to both classes alike, in [0, 1); a soft target is learnt as it is.

    Source: recipe B, measured in docs/log/2026-11.md#recipe-before-this-repository.
    """

    learning_rate: float = 1e-3
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    label_smoothing: float = 0.1


class ClassifierModule(pl.LightningModule):
    """Train a `TweetClassifier`.

    Args:
        classifier: with the parameters to train marked by requires_grad.
        settings: the recipe.
        seed: of dropout; each step is seeded by (seed, step), so that a resumed run draws the same masks.
    """

    def __init__(self, classifier: TweetClassifier, settings: LearningSettings, seed: int = 0) -> None:
        super().__init__()
        self.classifier = classifier
        self.settings = settings
        self.seed = seed
        self.dev_f1 = BinaryF1Score()
        self.dev_auc = BinaryAUROC()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 2)."""
        return self.classifier(input_ids, attention_mask)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout for this step."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch.

        Raises:
            LossError: it is not finite.
        """
        logits = self(batch["input_ids"], batch["attention_mask"]).float()
        loss = nn.functional.cross_entropy(logits, self._to_learn(batch))
        if not torch.isfinite(loss):
            raise LossError(
                f"the loss is {loss.item()} at step {self.global_step}; expected a finite number; lower "
                "model.learning_rate, or train in 32-bit precision"
            )
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _to_learn(self, batch: Batch) -> torch.Tensor:
        """Return probabilities (batch, 2) float32: the smoothed label, or the soft target where there is one."""
        smoothing = self.settings.label_smoothing
        positive = batch["targets"].float() * (1.0 - smoothing) + smoothing / 2
        if "soft_targets" in batch:
            positive = torch.where(batch["soft_targets"].isnan(), positive, batch["soft_targets"])
        return torch.stack((1.0 - positive, positive), dim=-1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the dev figures."""
        probabilities = self(batch["input_ids"], batch["attention_mask"]).softmax(-1)[:, 1]
        self.dev_f1.update(probabilities, batch["targets"])
        self.dev_auc.update(probabilities, batch["targets"])
        size = len(batch["targets"])
        self.log(DEV_METRIC, self.dev_f1, prog_bar=True, batch_size=size)
        self.log("dev/roc_auc", self.dev_auc, prog_bar=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        """Return AdamW with linear warm-up and decay, stepped every batch."""
        total = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(self.settings.warmup_share * total))

        def factor(step: int) -> float:
            return min((step + 1) / warmup, max(0.0, (total - step) / max(1, total - warmup)))

        optimizer = torch.optim.AdamW(self._groups())
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _groups(self) -> list[dict[str, Any]]:
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.classifier.named_parameters():
            if parameter.requires_grad:
                rate = self.settings.head_learning_rate if name.startswith("head.") else self.settings.learning_rate
                decay = self.settings.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((rate, decay), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()
        ]
