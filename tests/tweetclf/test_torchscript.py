"""The TorchScript engine: weights laid out for the CPU answer as plain ones, bfloat16 nearly so."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tweetclf.bundle import Bundle
from tweetclf.classifier import Classifier
from tweetclf.engines import torchscript, warm_up_shapes
from tweetclf.engines.torchscript import TorchScriptEngine, computes_bfloat16
from tweetclf.errors import BundleError


def random_rows(tweets: int, seed: int) -> list[list[int]]:
    source = random.Random(seed)
    return [[source.randrange(5, 60) for _ in range(source.randrange(1, 33))] for _ in range(tweets)]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_logits_with_weights_laid_out_for_onednn_are_those_of_plain_ones(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = TorchScriptEngine(tiny_bundle.model_path)
    monkeypatch.setattr(torchscript, "_prepack", lambda network: None)
    plain = TorchScriptEngine(tiny_bundle.model_path)
    linears = [module for module in packed._network.modules() if module.original_name.startswith("Prepackable")]
    laid_out = [module.weight.is_mkldnn for module in linears]
    assert laid_out.count(True) == 8  # four matrices in each of two layers
    for tweets in (1, 2, 40):
        rows = random_rows(tweets, seed=tweets)
        np.testing.assert_allclose(packed.logits(rows), plain.logits(rows), atol=1e-4)


def test_logits_do_not_depend_on_neighbours_beyond_1e_4(tiny_bundle: Bundle) -> None:
    engine = TorchScriptEngine(tiny_bundle.model_path)
    rows = random_rows(60, seed=1)
    alone = np.concatenate([engine.logits([row]) for row in rows])
    np.testing.assert_allclose(engine.logits(rows), alone, atol=1e-4)


def test_logits_in_bfloat16_are_within_their_tolerance_or_the_processor_is_refused_by_name(
    tiny_bundle: Bundle,
) -> None:
    if not computes_bfloat16():
        with pytest.raises(
            BundleError, match="precision is bfloat16 and this CPU has no instructions for it; expected"
        ):
            TorchScriptEngine(tiny_bundle.model_path, precision="bfloat16")
        return
    engine = TorchScriptEngine(tiny_bundle.model_path, precision="bfloat16")
    assert engine.precision == "bfloat16"
    assert 0 < Classifier(tiny_bundle, engine).replay_golden() <= engine.tolerance


def test_engine_whose_weights_onednn_does_not_take_answers_with_plain_ones(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(10, seed=2)
    expected = TorchScriptEngine(tiny_bundle.model_path).logits(rows)

    def refuse(*_: object) -> None:
        raise RuntimeError("no such kernel on this processor")

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", refuse)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    np.testing.assert_allclose(TorchScriptEngine(tiny_bundle.model_path).logits(rows), expected, atol=1e-4)


def test_precision_auto_on_the_cpu_is_float32(tiny_bundle: Bundle) -> None:
    assert TorchScriptEngine(tiny_bundle.model_path).precision == "float32"


def test_engine_of_float16_on_the_cpu_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="precision is float16 and the device a CPU"):
        TorchScriptEngine(tiny_bundle.model_path, precision="float16")


def test_warm_up_runs_shapes_up_to_the_longest_tweet_and_a_full_micro_batch(tiny_bundle: Bundle) -> None:
    shapes = list(warm_up_shapes(512, 128))
    assert (1, 8) in shapes
    assert max(tokens for _, tokens in shapes) == 128
    assert 512 - 24 < max(tweets * tokens for tweets, tokens in shapes) <= 512
    TorchScriptEngine(tiny_bundle.model_path).warm_up(32)
