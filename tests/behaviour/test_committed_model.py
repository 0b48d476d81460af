"""The committed model behaves: pass rates of own-written cases stay above stated floors.

What it reached when the floors were set stands in
docs/log/2026-11.md#behaviour-new-default. A floor is no aim: a new default model must not fall
below it without somebody saying so.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import ROOT
from training.evaluation.answer_sources import open_source
from training.evaluation.behaviour import CASES, behaviour_report, read_cases

KIND_FLOORS = {"functionality": 0.85, "invariance": 0.88, "direction": 0.9}
CAPABILITY_FLOORS = {
    ("functionality", "figure of speech"): 0.83,
    ("functionality", "real event"): 0.9,
    ("functionality", "everyday life"): 0.86,
    ("invariance", "URLs"): 0.87,
    ("invariance", "casing"): 0.99,  # the tokenizer folds case: anything less is a fault of the normaliser
}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return behaviour_report(open_source(ROOT / "model", None, None), read_cases(CASES))


@pytest.mark.parametrize("kind", KIND_FLOORS)
def test_each_kind_of_case_passes_at_its_floor(report: dict[str, Any], kind: str) -> None:
    assert report["kinds"][kind]["pass_rate"] >= KIND_FLOORS[kind], report["failed"]


@pytest.mark.parametrize(("kind", "capability"), CAPABILITY_FLOORS, ids=lambda name: name.replace(" ", "-"))
def test_what_a_user_would_notice_first_passes_at_its_floor(report: dict[str, Any], kind: str, capability: str) -> None:
    counts = report["kinds"][kind]["capabilities"][capability]
    assert counts["pass_rate"] >= CAPABILITY_FLOORS[kind, capability], report["failed"]
