"""The buckets and the fixed inputs of the GPU path, with a recorder that needs no GPU."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tweetclf.bundle import Bundle
from tweetclf.engines import cuda_graphs
from tweetclf.engines.cuda_graphs import Bucket, GraphedNetwork, Run, bucket_of
from tweetclf.engines.torchscript import TorchScriptEngine

CPU = torch.device("cpu")


class FakeRecorder:
    """Keeps what a CUDA graph keeps: the addresses of the inputs and of the output, and nothing of the values."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, run: Run) -> tuple[Callable[[], object], torch.Tensor]:
        self.recorded += 1
        output = run()
        return lambda: output.copy_(run()), output


@pytest.fixture
def network(tiny_bundle: Bundle) -> Any:
    return torch.jit.load(str(tiny_bundle.model_path)).eval().network


def random_rows(tweets: int, seed: int) -> list[list[int]]:
    source = random.Random(seed)
    return [[source.randrange(5, 60) for _ in range(source.randrange(1, 33))] for _ in range(tweets)]


def test_bucket_of_a_micro_batch_is_the_smallest_that_holds_it() -> None:
    assert bucket_of([[1, 2]]) == Bucket(packed=32, tweets=1, width=16)
    assert bucket_of([[1] * 17, [1] * 20]) == Bucket(packed=64, tweets=2, width=32)
    assert bucket_of([[1] * 16] * 5) == Bucket(packed=128, tweets=8, width=16)


def test_logits_in_every_bucket_are_those_of_the_plain_network(network: Any, tiny_bundle: Bundle) -> None:
    graphs = GraphedNetwork(network, CPU, FakeRecorder())
    plain = TorchScriptEngine(tiny_bundle.model_path)
    # Large, small, large again: what an earlier micro-batch left in a bucket's inputs must not be read.
    for seed, tweets in enumerate((40, 3, 1, 33, 2, 64, 5, 40)):
        rows = random_rows(tweets, seed)
        found = graphs.logits(rows)
        assert found.shape == (tweets, 2)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, plain.logits(rows), atol=1e-4)


def test_logits_of_one_call_stay_after_the_next(network: Any) -> None:
    graphs = GraphedNetwork(network, CPU, FakeRecorder())
    first = graphs.logits([[2, 5, 3]])
    kept = first.copy()
    graphs.logits([[2, 9, 9, 3]])
    assert np.array_equal(first, kept)


def test_graphs_are_recorded_once_a_bucket_and_the_oldest_goes_first(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "MAX_GRAPHS", 2)
    recorder = FakeRecorder()
    graphs = GraphedNetwork(network, CPU, recorder)
    one, two, four = [[2, 5, 3]], [[2, 5, 3]] * 2, [[2, 5, 3]] * 4
    for rows in (one, two, one, one, two):
        graphs.logits(rows)
    assert recorder.recorded == 2
    graphs.logits(four)  # drops the bucket of one, used before that of two
    graphs.logits(two)
    assert recorder.recorded == 3
    graphs.logits(one)
    assert recorder.recorded == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
def test_logits_of_recorded_cuda_graphs_are_those_of_the_cpu(tiny_bundle: Bundle) -> None:
    plain = TorchScriptEngine(tiny_bundle.model_path)
    gpu = TorchScriptEngine(tiny_bundle.model_path, "cuda:0", "float32")
    for seed, tweets in enumerate((40, 3, 40)):
        rows = random_rows(tweets, seed)
        np.testing.assert_allclose(gpu.logits(rows), plain.logits(rows), atol=1e-3)
