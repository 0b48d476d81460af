"""An engine that tells what it was given, and predictions without errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tweetclf.classifier import Classifier, Prediction
from tweetclf.engines.torchscript import TorchScriptEngine


class CountingEngine:
    """Passes on to the real engine and keeps the shapes that it was given."""

    name = "counting"
    device = "cpu"
    tolerance = 1e-4

    def __init__(self, engine: TorchScriptEngine) -> None:
        self.engine = engine
        self.calls: list[list[int]] = []

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        self.calls.append([len(ids) for ids in input_ids])
        return self.engine.logits(input_ids)


def predictions(classifier: Classifier, texts: Sequence[str]) -> list[Prediction]:
    outcomes = classifier.predict(texts)
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
