from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest

from training.reports.model_card import TEMPLATE_FILE, CardError, model_card
from training.reports.provenance_table import provenance_table

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


def test_the_template_holds_no_figure_by_hand() -> None:
    text = (files("training.reports") / TEMPLATE_FILE).read_text(encoding="utf-8")
    by_hand = re.sub(r"\{\{.*?\}\}|<!--.*?-->", "", text, flags=re.DOTALL)
    # Names, and years of collections and of the papers that published them.
    names = r"CrisisLexT6|CrisisLexT26|crisislex_t26|Apache-2\.0|et al\. 20\d\d|sha256|from 2012 to 2015"
    assert re.findall(r".*\d.*", re.sub(names, "", by_hand)) == []
    for section in ("Intended use", "Not for use", "Data and licences", "Other seeds", "Limits"):
        assert f"## {section}\n" in text
    assert "{{sentence cost}}" in text


def test_provenance_table_counts_files_rows_and_what_was_read() -> None:
    training = {
        "data": {
            "train.csv": {"rows": 7613},
            "crisislex/t6/a.csv": {"rows": 10000},
            "crisislex/t6/b.csv": {"rows": 10008},
        },
        "rows": {"train": {"kaggle": 9536, "crisislex_t6": 8000}, "calibration": {"kaggle": 1410}},
    }
    kaggle, t6 = provenance_table(training).splitlines()[2:]
    assert kaggle.endswith("| Kaggle's rules: not to be passed on | 1 | 7,613 | 9,536 | 1,410 |")
    assert t6.startswith("| CrisisLexT6 (Olteanu et al. 2014) | MIT;")
    assert t6.endswith("| 2 | 20,008 | 8,000 | 0 |")
