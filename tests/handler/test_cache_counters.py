"""What the handler tells TorchServe's metrics of the answer cache: sums that are right, in one line a batch at most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handler.tweets_handler import CACHE_COUNTERS, TweetsHandler
from tests.handler.conftest import FakeContext


class Counter:
    """Keeps what was added. Source: TorchServe 0.12 ts/metrics/caching_metric.py, add_or_update."""

    def __init__(self) -> None:
        self.added: list[float] = []

    def add_or_update(self, value: float, dimension_values: list[str]) -> None:
        assert dimension_values == ["tweets", "Model"]
        self.added.append(value)


class FakeMetrics:
    """Source: TorchServe 0.12 ts/metrics/metric_cache_yaml_impl.py; its default type is a counter."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter] = {}

    def add_metric_to_cache(self, metric_name: str, unit: str, dimension_names: list[str]) -> Counter:
        assert (unit, dimension_names) == ("count", ["ModelName", "Level"])
        return self.counters.setdefault(metric_name, Counter())

    @property
    def lines(self) -> int:
        return sum(len(counter.added) for counter in self.counters.values())

    def total(self, fact: str) -> float:
        return sum(self.counters[CACHE_COUNTERS[fact]].added)


@pytest.fixture
def context(model_dir: Path) -> FakeContext:
    context = FakeContext(model_dir, {"handler": {"torch_threads": 1}})
    context.metrics = FakeMetrics()
    return context


@pytest.fixture
def handler(context: FakeContext) -> TweetsHandler:
    handler = TweetsHandler()
    handler.initialize(context)
    return handler


def batch(handler: TweetsHandler, context: FakeContext, *texts: str) -> int:
    """Answer a batch of single tweets and return how many lines it wrote."""
    before = context.metrics.lines
    handler.handle([{"body": text.encode()} for text in texts], context)
    return context.metrics.lines - before


def test_counters_are_shown_at_zero_when_the_model_is_loaded(handler: TweetsHandler, context: FakeContext) -> None:
    assert {name: counter.added for name, counter in context.metrics.counters.items()} == {
        "tweetclf_answer_cache_hits_total": [0],
        "tweetclf_answer_cache_misses_total": [0],
    }


def test_a_batch_writes_one_line_at_most_and_none_when_nothing_was_looked_up(
    handler: TweetsHandler, context: FakeContext
) -> None:
    assert batch(handler, context, "fire", "flood", "storm") == 1
    assert (context.metrics.total("hits"), context.metrics.total("misses")) == (0, 3)
    assert batch(handler, context, "fire", "river") == 1  # a hit and a miss: one of them waits
    assert context.metrics.total("hits") + context.metrics.total("misses") == 4
    assert batch(handler, context, "") == 1  # its turn
    assert (context.metrics.total("hits"), context.metrics.total("misses")) == (1, 4)
    assert batch(handler, context, "http://t.example") == 0


def test_neither_counter_lags_behind_for_long_when_both_rise_with_every_batch(
    handler: TweetsHandler, context: FakeContext
) -> None:
    for number in range(20):
        assert batch(handler, context, *(f"fire {number} {place}" for place in range(5)), "flood", "storm") == 1
    facts: dict[str, Any] = json.loads(handler.describe_handle())["answer_cache"]
    for fact in CACHE_COUNTERS:
        assert facts[fact] - 10 <= context.metrics.total(fact) <= facts[fact]


def test_without_a_cache_or_without_metrics_nothing_is_counted(model_dir: Path) -> None:
    context = FakeContext(model_dir, {"handler": {"torch_threads": 1, "cache_bytes": 0}})
    context.metrics = FakeMetrics()
    handler = TweetsHandler()
    handler.initialize(context)
    assert batch(handler, context, "fire") == 0
    assert not context.metrics.counters
    alone = FakeContext(model_dir)
    handler.initialize(alone)
    (answer,) = handler.handle([{"body": b"fire"}], alone)
    assert b"label" in answer
