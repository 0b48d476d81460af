"""The tiny bundle on its TorchScript engine."""

from __future__ import annotations

import pytest

from tweetclf.bundle import Bundle
from tweetclf.classifier import Classifier
from tweetclf.engines.torchscript import TorchScriptEngine


@pytest.fixture(scope="session")
def engine(tiny_bundle: Bundle) -> TorchScriptEngine:
    return TorchScriptEngine(tiny_bundle.model_path)


@pytest.fixture(scope="session")
def classifier(tiny_bundle: Bundle, engine: TorchScriptEngine) -> Classifier:
    return Classifier(tiny_bundle, engine)
