"""Settings of the handler are checked by name and range."""

from __future__ import annotations

from typing import Any

import pytest

from tweetclf.bundle import Thresholds
from tweetclf.engines.cores import available_cores
from tweetclf.errors import BundleError
from tweetclf.handler_settings import HandlerConfig


def test_threads_are_shared_out_among_workers_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tweetclf.handler_settings.available_cores", lambda: 8)
    config = HandlerConfig.from_mapping(None)
    assert [config.threads(workers) for workers in (1, 2, 3, 8, 9, 0)] == [8, 4, 2, 1, 1, 8]
    assert HandlerConfig.from_mapping({"torch_threads": 3}).threads(4) == 3


def test_handler_config_of_nothing_takes_the_defaults() -> None:
    config = HandlerConfig.from_mapping(None)
    assert config.threads() == available_cores()
    assert config.thresholds(Thresholds(0.2, 0.8), {}) == Thresholds(0.2, 0.8)


def test_handler_config_with_thresholds_replaces_those_it_names() -> None:
    config = HandlerConfig.from_mapping({"disaster_from": 0.95, "not_disaster_below": None})
    assert config.thresholds(Thresholds(0.2, 0.8), {}) == Thresholds(0.2, 0.95)


def test_handler_config_with_crossed_thresholds_is_refused() -> None:
    config = HandlerConfig.from_mapping({"disaster_from": 0.1})
    with pytest.raises(BundleError, match="expected 0 <= not_disaster_below <= disaster_from"):
        config.thresholds(Thresholds(0.2, 0.8), {})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ([], "expected a mapping"),
        ({"threads": 2}, r"unknown keys \['threads'\]"),
        ({"torch_threads": -1}, r"handler.torch_threads is -1; expected int from 0"),
        ({"torch_threads": "2"}, r"handler.torch_threads is '2'"),
        ({"torch_threads": True}, r"handler.torch_threads is True"),
        ({"batch_seconds": 0}, r"handler.batch_seconds is 0; expected float from 1 to 3600"),
        ({"batch_seconds": 0.001}, r"handler.batch_seconds is 0.001; expected float from 1"),
        ({"batch_seconds": -5}, r"handler.batch_seconds is -5"),
        ({"batch_seconds": float("nan")}, r"handler.batch_seconds is nan"),
        ({"batch_seconds": float("inf")}, r"handler.batch_seconds is inf"),
        ({"batch_seconds": "90"}, r"handler.batch_seconds is '90'"),
        ({"batch_seconds": None}, r"handler.batch_seconds is None"),
        ({"cuda_graphs": "yes"}, r"handler.cuda_graphs is 'yes'; expected true or false"),
        ({"cuda_graphs": 1}, r"handler.cuda_graphs is 1; expected true or false"),
        ({"batch_tokens": 1.5}, r"handler.batch_tokens is 1.5"),
        ({"disaster_from": 2}, r"handler.disaster_from is 2; expected float from 0 to 1"),
        ({"engine": "onnx"}, r"handler.engine is 'onnx'; expected one of"),
        ({"cache_bytes": -1}, r"handler.cache_bytes is -1; expected int from 0"),
        ({"cache_bytes": "32M"}, r"handler.cache_bytes is '32M'"),
        ({"disaster_from": "high"}, r"handler.disaster_from is 'high'"),
        ({"max_error_share": 8}, r"handler.max_error_share is 8; expected float from 0 to 1"),
        ({"error_share_of": "both"}, r"handler.error_share_of is 'both'; expected one of"),
    ],
)
def test_handler_config_with_a_wrong_value_says_what_is_expected(section: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        HandlerConfig.from_mapping(section)


@pytest.mark.parametrize(
    ("section", "timeout_s", "limit_s"),
    [
        ({"batch_seconds": 120}, None, 120),  # TorchServe's own where the yaml has none
        ({"batch_seconds": 500}, 0, 120),  # or none above zero
        ({"batch_seconds": 120}, 120, 120),
        (None, 60, 60),  # the default of 90 with a short timeout
        ({"batch_seconds": 59.5}, 30, 30),
    ],
)
def test_handler_config_when_a_batch_may_outlive_its_worker_then_is_refused(
    section: Any, timeout_s: object, limit_s: int
) -> None:
    with pytest.raises(BundleError, match=rf"batch_seconds is \S+ and responseTimeout {limit_s}; expected .* below"):
        HandlerConfig.from_mapping(section, timeout_s)


@pytest.mark.parametrize(("batch_s", "timeout_s"), [(1, 2), (90, None), (119.9, 120), (600, 601)])
def test_handler_config_when_a_batch_ends_before_its_worker_then_is_taken(batch_s: float, timeout_s: object) -> None:
    assert HandlerConfig.from_mapping({"batch_seconds": batch_s}, timeout_s).batch_seconds == batch_s


def test_handler_config_without_a_word_about_them_runs_no_cuda_graphs() -> None:
    assert HandlerConfig.from_mapping(None).cuda_graphs is False
