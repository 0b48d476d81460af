"""The int8 engine: close to float32, and the same bits whatever the neighbours."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from export.quantize import quantize
from tests.conftest import ROOT
from training.model.model import load_merged
from tweetclf.bundle import Bundle, load_bundle
from tweetclf.classifier import Classifier
from tweetclf.engines.openvino import OpenVinoEngine
from tweetclf.engines.processor import length_step
from tweetclf.engines.torchscript import TorchScriptEngine
from tweetclf.errors import BundleError

REAL_TWEETS = 256  # docs/log/2026-11.md#int8-packed-exact-fast-close has 1,024, which takes minutes


def int8_engine(bundle: Bundle, threads: int = 1) -> OpenVinoEngine:
    assert bundle.int8_path is not None
    return OpenVinoEngine(bundle.int8_path, threads=threads, length_step=length_step())


@pytest.fixture(scope="module")
def engine(tiny_int8_bundle: Bundle) -> OpenVinoEngine:
    return int8_engine(tiny_int8_bundle)


def logits_in_batches(
    engine: OpenVinoEngine, rows: Sequence[Sequence[int]], order: Sequence[int], size: int
) -> npt.NDArray[np.float32]:
    result = np.empty((len(rows), 2), dtype=np.float32)
    for start in range(0, len(order), size):
        batch = list(order[start : start + size])
        result[batch] = engine.logits([rows[index] for index in batch])
    return result


def assert_independent_of_neighbours(engine: OpenVinoEngine, rows: Sequence[Sequence[int]]) -> None:
    alone = logits_in_batches(engine, rows, range(len(rows)), 1)
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    shuffled = random.Random(0).sample(range(len(rows)), len(rows))
    assert np.array_equal(logits_in_batches(engine, rows, by_length, 16), alone)
    assert np.array_equal(logits_in_batches(engine, rows, shuffled, 32), alone)


def test_logits_of_the_tiny_model_are_close_to_float32(engine: OpenVinoEngine, tiny_int8_bundle: Bundle) -> None:
    rows = [sample.input_ids for sample in tiny_int8_bundle.golden]
    expected = TorchScriptEngine(tiny_int8_bundle.model_path).logits(rows)
    found = engine.logits(rows)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert 0 < np.abs(found - expected).max() < 0.5  # 0 would be the float32 network


def test_replay_golden_of_the_int8_model_is_within_its_tolerance(
    engine: OpenVinoEngine, tiny_int8_bundle: Bundle
) -> None:
    assert Classifier(tiny_int8_bundle, engine).replay_golden() <= engine.tolerance


def test_logits_of_a_tweet_are_the_same_bits_in_every_batch(engine: OpenVinoEngine) -> None:
    source = random.Random(1)
    rows = [[source.randrange(5, 60) for _ in range(source.randrange(1, 33))] for _ in range(200)]
    assert_independent_of_neighbours(engine, rows)


def test_logits_of_one_call_stay_after_the_next(engine: OpenVinoEngine) -> None:
    first = engine.logits([[2, 5, 3]])
    kept = first.copy()
    engine.logits([[2, 9, 9, 3]])
    assert np.array_equal(first, kept)


@pytest.fixture(scope="module")
def real_int8_path(tmp_path_factory: pytest.TempPathFactory, real_bundle_dir: Path) -> Path:
    """The default model in int8, past no gate: here only its bits are looked at."""
    classifier, _ = load_merged(ROOT / "model")
    bundle = load_bundle(real_bundle_dir)
    path = tmp_path_factory.mktemp("real_int8") / "model_int8.xml"
    quantize(classifier, [sample.input_ids for sample in bundle.golden], path)
    return path


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_logits_of_real_tweets_are_the_same_bits_in_every_batch(
    real_bundle_dir: Path, real_int8_path: Path, real_data: Path, threads: int
) -> None:
    bundle = load_bundle(real_bundle_dir)
    engine = OpenVinoEngine(real_int8_path, threads=threads, length_step=length_step())
    with (real_data / "test.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:REAL_TWEETS]
    assert_independent_of_neighbours(engine, Classifier(bundle, engine).encode(texts))


def test_engine_without_openvino_says_what_to_install(
    tiny_int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BundleError, match="needs the package openvino"):
        int8_engine(tiny_int8_bundle)


def test_engine_of_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_int8.xml"
    path.write_text("<net/>")
    with pytest.raises(BundleError, match=r"model_int8.xml cannot be loaded as an OpenVINO model"):
        OpenVinoEngine(path)
