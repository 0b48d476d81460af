from __future__ import annotations

from typing import Any

import pytest

from training.reports.model_card import CardError, model_card
from training.reports.model_card_sentences import SENTENCES

OLD: dict[str, Any] = {
    "model_version": "v1",
    "lora": {"rank": 16},
    "normaliser_version": "2",
    "train_seconds": 600,
    "rows": {"train": {"kaggle": 12}},
    "risks": {"decided": [{"max_error_share": 0.05}, {"max_error_share": 0.02}]},
    "temperature": 1.1,
    "calibration": {"n": 664, "max_error_share": 0.08, "confidence": 0.7},
    "recipe": {
        "trainer": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "data": {"t6_events": ["2013_Alberta_Floods"], "t6_per_event": 3000},
    },
}
NEW: dict[str, Any] = {
    **OLD,
    "tuning": "full",
    "trained_with_normaliser": "1",
    "rows": {"train": {"kaggle": 20}},
    "risks": {"decided": [{"max_error_share": 0.02}, {"max_error_share": 0.2}]},
    "teacher_seconds": 1200,
    "softened_share": 0.9,
    "bias": -0.3,
    "cost": {"cpu_seconds": 3456.7, "package_joules": 7.2e6, "energy_note": "RAPL counters of 1 package(s)"},
    "calibration": {"n": 1371, "max_error_share": 0.08, "confidence": 0.9, "scope": "decided"},
    "recipe": {
        **OLD["recipe"],
        "teacher": {"folds": 5, "seeds": 2, "num_hidden_layers": 6},
        "data": {
            **OLD["recipe"]["data"],
            "t26_events": ["2013_Bohol"],
            "t26_per_event": 300,
            "kaggle_repeats": 2,
            "agreement_weight": 1.0,
            "teacher_weight": 0.5,
            "exclusions": "training/label_noise/v1.json",
        },
    },
}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("trained_part", "LoRA of rank 16", "tuned whole"),
        ("normaliser", "2", "2 (the weights were trained with normaliser 1)"),
        ("cost", "10 minutes; accelerator cpu", "30 minutes (20 of them for the teachers)"),
        ("cost", "energy was not measured", "3,457 CPU-seconds in all; 2.000 kWh (RAPL"),
        ("crowd", "was not used", "agreement was used** (train_agreement.csv"),
        ("crowd", "was not used", "90% of the training rows learn"),
        ("teachers", "No teacher", "10 teachers of 6 layers"),
        (
            "other_collections",
            "3,000 tweets of each of 2013_Alberta_Floods (CrisisLexT6)",
            "300 tweets of each of 2013_Bohol",
        ),
        ("exclusions", "No row was left out", "listed in training/label_noise/v1.json"),
        ("guarantee", "at most 8% errors on each side", "with confidence 90% at most 8% errors among all decided"),
        ("read_rows", "12 rows are read in each epoch (kaggle 12)", "(kaggle 20; Kaggle's each 2 times)"),
        ("risk_range", "2% to 5%", "2% to 20%"),
        ("scaling", "temperature 1.1, fitted on 664", "bias -0.3 (within the head), fitted on 1,371"),
    ],
)
def test_a_sentence_tells_of_old_and_new_trainings_what_is_true(name: str, old: str, new: str) -> None:
    assert old in SENTENCES[name](OLD)
    assert new in SENTENCES[name](NEW)


def test_cost_of_a_training_whose_teachers_were_kept_says_that_they_are_not_counted() -> None:
    assert "10 minutes (its teachers' scores were kept" in SENTENCES["cost"]({**NEW, "teacher_seconds": 0})


@pytest.mark.parametrize(
    ("sentence", "evaluation", "expected"),
    [
        ("seeds", {}, "One training, one seed. "),
        (
            "label_ceiling",
            {"splits": {"kaggle_random": {"rows": 1985, "disputed_share": 0.512}}},
            "on 51% of the 1,985",
        ),
        ("label_ceiling", {"splits": {"kaggle_random": {"rows": 9, "disputed_share": None}}}, "was not at hand"),
    ],
)
def test_a_sentence_tells_of_an_evaluation_what_is_true(
    sentence: str, evaluation: dict[str, Any], expected: str
) -> None:
    text = model_card({"source": {"model_version": "v1"}, **evaluation}, OLD, f"{{{{sentence {sentence}}}}}")
    assert expected in text


def test_model_card_fills_a_sentence_and_refuses_an_unknown_one() -> None:
    evaluation = {"source": {"model_version": "v1"}}
    assert model_card(evaluation, OLD, "a {{sentence teachers}} b") == "a No teacher was used. b"
    with pytest.raises(CardError, match="sentence wishes"):
        model_card(evaluation, OLD, "{{sentence wishes}}")
    with pytest.raises(CardError, match=r"training\.json lacks 'train_seconds'"):
        model_card(
            evaluation, {name: value for name, value in OLD.items() if name != "train_seconds"}, "{{sentence cost}}"
        )


def test_model_card_of_a_report_without_held_out_trainings_says_so() -> None:
    evaluation: dict[str, Any] = {"source": {"model_version": "v1"}, "splits": {}}
    for table in ("generalisation", "behaviour", "risks"):
        assert model_card(evaluation, OLD, f"{{{{table {table}}}}}") == "Not measured for this model."
