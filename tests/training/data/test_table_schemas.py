"""The schemas refuse what a table must not hold, and say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from training.data.datamodule import read_table
from training.data.labels import KAGGLE
from training.data.table_schemas import PREPARED_SCHEMA, RAW_SCHEMAS, find_failures


@pytest.fixture
def prepared(data_dir: Path) -> pd.DataFrame:
    return read_table(data_dir)


def test_find_failures_of_a_prepared_table_as_written_is_empty(prepared: pd.DataFrame) -> None:
    assert find_failures(PREPARED_SCHEMA, prepared) == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("target", 2, "row 7, column target: '2' is no target; expected 0 or 1"),
        ("agreed_target", -2, "row 7, column agreed_target: '-2' is no target; expected 0, 1 or -1"),
        ("source", "elsewhere", "row 7, column source: 'elsewhere' is no source; expected one of"),
        ("agreement", 1.5, "row 7, column agreement: '1.5' is no share; expected one from 0 to 1"),
        ("text", " ", "row 7, column text: ' ' holds nothing; expected a tweet"),
        ("id", "kaggle:1", "row 7, column id: 'kaggle:1' is there more than once; expected each once"),
        ("group", "nowhere", "row 7: group is no id; expected one of the table"),
        ("first", False, "row 7: equal texts have none or several rows marked first; expected one"),
    ],
)
def test_find_failures_of_a_wrong_value_names_row_and_column(
    prepared: pd.DataFrame, column: str, value: Any, message: str
) -> None:
    prepared.loc[7, column] = value
    # An id that is changed is missing as a group too.
    failures = [str(failure) for failure in find_failures(PREPARED_SCHEMA, prepared)]
    assert any(found.startswith(message) for found in failures)
    assert len(failures) == (2 if column == "id" else 1)


def test_find_failures_of_equal_texts_in_two_groups_names_both_rows(prepared: pd.DataFrame) -> None:
    prepared.loc[8, ["normalised", "first"]] = (prepared.loc[7, "normalised"], False)
    assert [(failure.row, failure.reason) for failure in find_failures(PREPARED_SCHEMA, prepared)] == [
        (row, "equal texts are in several groups; expected one") for row in (7, 8)
    ]


def test_find_failures_of_other_columns_and_types_names_them(prepared: pd.DataFrame) -> None:
    missing = find_failures(PREPARED_SCHEMA, prepared.drop(columns="keyword"))
    assert any("keyword" in failure.reason for failure in missing)
    extra = find_failures(PREPARED_SCHEMA, prepared.assign(more=1))
    assert any("more" in failure.reason for failure in extra)
    floats = find_failures(PREPARED_SCHEMA, prepared.astype({"target": "float64"}))
    assert [str(failure) for failure in floats] == ["column target: has type float64; expected dtype('int8')"]


def test_find_failures_never_shows_a_long_text() -> None:
    row = {
        "id": "1",
        "keyword": "",
        "location": "",
        "text": "t",
        "target": "the bridge in Marlow is gone, says my aunt",
    }
    (failure,) = find_failures(RAW_SCHEMAS[KAGGLE], pd.DataFrame([row], index=pd.Index([2], name="line"), dtype=str))
    assert str(failure).startswith("line 2, column target: a text of 42 characters is not in the label map")
