"""The int8 network of the archive that is served: the same bits for a tweet whatever neighbours are drawn for it."""

from __future__ import annotations

import csv
import random
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tweetclf.bundle import Bundle, load_bundle
from tweetclf.classifier import Classifier, Prediction
from tweetclf.engines import Engine
from tweetclf.engines.choice import open_engine

pytestmark = pytest.mark.slow

TEXTS = 96  # some seconds on a quiet core, with all that is drawn
DRAWN_BATCHES = 80
BATCH_MAX = 40
SCORED = 48


@dataclass(frozen=True, repr=False)
class Alone:
    """Tweets with what the network says of each by itself.

    Args:
        classifier: no answer is kept.
        texts: distinct.
        rows: their token ids.
        logits: (texts, 2) float32, each of a call of its own.
    """

    classifier: Classifier
    texts: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    logits: npt.NDArray[np.float32]

    def __repr__(self) -> str:
        return f"{len(self.texts)} tweets"  # real ones are not for the report of a failure


@pytest.fixture(scope="module")
def served_bundle(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What TorchServe unpacks, not what was put in."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(real_archive) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("bundle/")])
    return load_bundle(folder / "bundle")


@pytest.fixture(scope="module", params=[1, 2], ids=["1 thread", "2 threads"])
def engine(served_bundle: Bundle, request: pytest.FixtureRequest) -> Engine:
    return open_engine("openvino", served_bundle, "cpu", request.param)[0]


def own_texts() -> list[str]:
    """Own-written tweets of every length up to the model's limit: some alone, some run together."""
    lines = (ROOT / "scripts" / "loadtest_tweets.txt").read_text(encoding="utf-8").splitlines()
    joined = [" ".join(lines[start : start + 2 + start % 9]) for start in range(0, 64, 2)]
    words = [line.split()[0] for line in lines[:8]]
    return list(dict.fromkeys([*joined, *words, *lines]))[:TEXTS]


def real_texts(folder: Path) -> list[str]:
    with (folder / "test.csv").open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["text"] for row in csv.DictReader(file)))[:TEXTS]


def ask_alone(bundle: Bundle, engine: Engine, texts: Sequence[str]) -> Alone:
    classifier = Classifier(bundle, engine)
    # Folding is none of the network: only texts that are answered, and each once.
    outcomes = classifier.predict(texts)
    kept = [text for text, outcome in zip(texts, outcomes, strict=True) if isinstance(outcome, Prediction)]
    rows = classifier.encode(kept)
    logits = np.concatenate([engine.logits([ids]) for ids in rows])
    return Alone(classifier, tuple(kept), tuple(map(tuple, rows)), logits)


@pytest.fixture(scope="module")
def own(served_bundle: Bundle, engine: Engine) -> Alone:
    return ask_alone(served_bundle, engine, own_texts())


@pytest.fixture(scope="module")
def real(served_bundle: Bundle, engine: Engine, real_data: Path) -> Alone:
    return ask_alone(served_bundle, engine, real_texts(real_data))


def check_batch(alone: Alone, numbers: list[int]) -> None:
    """Bits of the logits, in a batch of any tweets in any order, some of them twice."""
    batch = [number % len(alone.rows) for number in numbers]
    found = alone.classifier.engine.logits([alone.rows[index] for index in batch])
    assert found.tobytes() == alone.logits[batch].tobytes()


def check_call(alone: Alone, bundle: Bundle, seed: int, tokens: int) -> None:
    """Answers, through the classifier's own cutting into micro-batches of any size."""
    chosen = random.Random(seed).sample(range(len(alone.texts)), SCORED)
    classifier = Classifier(bundle, alone.classifier.engine, batch_tokens=tokens)
    found = classifier.predict([alone.texts[index] for index in chosen])
    for index, outcome in zip(chosen, found, strict=True):
        (expected,) = alone.classifier.predict([alone.texts[index]])
        assert isinstance(expected, Prediction)
        assert outcome == expected


batches = st.lists(st.integers(0, TEXTS - 1), min_size=1, max_size=BATCH_MAX)
seeds = st.integers(0, 1 << 32)
budgets = st.sampled_from([1, 24, 100, 384, 768, 1536, 100_000])
drawn = settings(
    max_examples=DRAWN_BATCHES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
drawn_calls = settings(drawn, max_examples=4)


@drawn
@given(numbers=batches)
def test_logits_of_own_tweets_are_the_same_bits_in_every_drawn_batch(own: Alone, numbers: list[int]) -> None:
    check_batch(own, numbers)


@drawn_calls
@given(seed=seeds, tokens=budgets)
def test_answers_to_own_tweets_are_equal_in_every_drawn_call(
    own: Alone, served_bundle: Bundle, seed: int, tokens: int
) -> None:
    check_call(own, served_bundle, seed, tokens)


@pytest.mark.real_data
@drawn
@given(numbers=batches)
def test_logits_of_real_tweets_are_the_same_bits_in_every_drawn_batch(real: Alone, numbers: list[int]) -> None:
    check_batch(real, numbers)


@pytest.mark.real_data
@drawn_calls
@given(seed=seeds, tokens=budgets)
def test_answers_to_real_tweets_are_equal_in_every_drawn_call(
    real: Alone, served_bundle: Bundle, seed: int, tokens: int
) -> None:
    check_call(real, served_bundle, seed, tokens)
