"""Thresholds of another risk come out of the bundle's table, or an error that says what there is."""

from __future__ import annotations

from typing import Any

import pytest

from tweetclf.bundle import Thresholds
from tweetclf.errors import BundleError
from tweetclf.handler_settings import HandlerConfig
from tweetclf.risk import thresholds_at

FACTS: dict[str, Any] = {
    "risks": {
        "confidence": 0.9,
        "decided": [
            {"max_error_share": 0.05, "not_disaster_below": 0.1, "disaster_from": 0.9},
            {"max_error_share": 0.08, "not_disaster_below": 0.2, "disaster_from": 0.8},
        ],
        "side": [{"max_error_share": 0.05, "not_disaster_below": 0.0, "disaster_from": 0.85}],
    }
}
OWN = Thresholds(0.2, 0.8)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, OWN),
        ({"max_error_share": None}, OWN),
        ({"max_error_share": 0.05}, Thresholds(0.1, 0.9)),
        ({"max_error_share": 0.05, "error_share_of": "side"}, Thresholds(0.0, 0.85)),
        ({"max_error_share": 0.05, "disaster_from": 0.95}, Thresholds(0.1, 0.95)),
    ],
)
def test_handler_config_with_a_risk_takes_its_thresholds(section: dict[str, Any], expected: Thresholds) -> None:
    assert HandlerConfig.from_mapping(section).thresholds(OWN, FACTS) == expected


def test_thresholds_at_a_risk_that_was_not_trained_for_lists_the_known_ones() -> None:
    with pytest.raises(BundleError, match=r"max_error_share is 0.06; expected one of \[0.05, 0.08\]"):
        thresholds_at(FACTS, 0.06, "decided")


@pytest.mark.parametrize("facts", [{}, {"risks": None}, {"risks": {"side": []}}])
def test_thresholds_at_without_a_table_says_what_to_do(facts: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="has no 'risks' for 'decided'; train and export it again"):
        thresholds_at(facts, 0.05, "decided")
