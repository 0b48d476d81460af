from __future__ import annotations

from typing import Any

import pytest

from training.model_card import CardError, model_card

EVALUATION: dict[str, Any] = {
    "source": {"model_version": "v1"},
    "splits": {"rows": {"f1": {"value": 0.81234, "low": 0.7, "high": 0.9}, "share": 0.256}},
}
TRAINING: dict[str, Any] = {"model_version": "v1", "rows": {"kaggle": 4000, "t6": 12000}, "train_seconds": 816}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("{{training/model_version}}", "v1"),
        ("{{ evaluation/splits/rows/f1 | interval }}", "0.812 (0.700 to 0.900)"),
        ("{{evaluation/splits/rows/share|share}}", "25.6%"),
        ("{{training/rows|sum}}", "16,000"),
        ("{{training/rows|pairs}}", "kaggle 4000, t6 12000"),
        ("{{training/train_seconds|minutes}}", "14"),
    ],
)
def test_model_card_fills_a_place(place: str, expected: str) -> None:
    assert model_card(EVALUATION, TRAINING, f"a {place} b") == f"a {expected} b"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{{training/model}}", "there is no 'model'; expected one of .*'model_version'"),
        ("{{training/model_version/date}}", "there is no 'date'; expected one of no further step"),
        ("{{training/train_seconds|hours}}", "form 'hours' is unknown"),
        ("{{training/model_version|share}}", "str has no form 'share'"),
        ("{{table figures}}", "'figures' is not there"),
    ],
)
def test_model_card_when_a_place_cannot_be_filled_names_it(place: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        model_card(EVALUATION, TRAINING, place)


def test_model_card_when_the_models_differ_refuses() -> None:
    with pytest.raises(CardError, match=r"of model v1, training\.json of v2"):
        model_card(EVALUATION, {**TRAINING, "model_version": "v2"}, "")
