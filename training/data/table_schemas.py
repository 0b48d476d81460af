"""What each column of a raw file and of the prepared table must hold, as pandera schemas, and what breaks it.

The schemas judge values; `training.data.raw_tables` reads the files and judges their form (encoding, header, quotes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from training.data.labels import KAGGLE, LABEL_MAP, T6, T26

AGREEMENT = "agreement"
TIE = -1
MAX_SHOWN_CHARS = 30
MAX_SHOWN_FAILURES = 5
# A spreadsheet rounds ids of this length and writes them so: the tweet can no longer be named.
_FLOAT_ID = re.compile(r"[+-]?\d*\.\d*([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")
_NOT_FLOAT = "is a number with a fraction: a spreadsheet has rounded it; expected digits only"


def _ids(unique: bool) -> pa.Column:
    not_rounded = pa.Check(lambda value: _FLOAT_ID.fullmatch(value) is None, element_wise=True, error=_NOT_FLOAT)
    digits = pa.Check.str_matches(r"^\d+$", error="is no id; expected digits only")
    return pa.Column(str, [not_rounded, digits], unique=unique, report_duplicates="exclude_first")


def _labels(source: str) -> pa.Column:
    known = list(LABEL_MAP[source])
    return pa.Column(str, pa.Check.isin(known, error=f"is not in the label map; expected one of {known}"))


_SHARE = pa.Check(
    lambda values: pd.to_numeric(values, errors="coerce").between(0, 1), error="is no share; expected one from 0 to 1"
)
_FILLED = pa.Check(lambda value: bool(value.strip()), element_wise=True, error="holds nothing; expected a tweet")

# Values as they stand in the file, ids and labels without the blanks around them. CrisisLex rows without text and
# repeated ids are left out by policy (raw_tables), so no schema forbids them.
RAW_SCHEMAS: Mapping[str, pa.DataFrameSchema] = {
    KAGGLE: pa.DataFrameSchema(
        {
            "id": _ids(unique=True),
            "keyword": pa.Column(str),
            "location": pa.Column(str),
            "text": pa.Column(str, _FILLED),
            "target": _labels(KAGGLE),
        }
    ),
    AGREEMENT: pa.DataFrameSchema({"id": _ids(unique=True), "agreement": pa.Column(str, _SHARE)}),
    T6: pa.DataFrameSchema({"tweet id": _ids(unique=False), "tweet": pa.Column(str), "label": _labels(T6)}),
    T26: pa.DataFrameSchema(
        {
            "Tweet ID": _ids(unique=False),
            "Tweet Text": pa.Column(str),
            "Information Source": pa.Column(str),
            "Information Type": pa.Column(str),
            "Informativeness": _labels(T26),
        }
    ),
}

PREPARED_SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column(str, unique=True, report_duplicates="exclude_first"),
        "source": pa.Column(str, pa.Check.isin(list(LABEL_MAP), error=f"is no source; expected one of {[*LABEL_MAP]}")),
        "event": pa.Column(str),
        "keyword": pa.Column(str),
        "text": pa.Column(str, _FILLED),
        "normalised": pa.Column(str, _FILLED),
        # The row's own label.
        "target": pa.Column("int8", pa.Check.isin([0, 1], error="is no target; expected 0 or 1")),
        # The majority label of all rows with this normalised text; TIE where there is none.
        "agreed_target": pa.Column("int8", pa.Check.isin([0, 1, TIE], error=f"is no target; expected 0, 1 or {TIE}")),
        # Of the rows with this normalised text; Kaggle's come first.
        "first": pa.Column(bool),
        # Near-duplicates share it: the id of their first row.
        "group": pa.Column(str),
        "agreement": pa.Column(
            "float32", pa.Check.in_range(0, 1, error="is no share; expected one from 0 to 1"), nullable=True
        ),
    },
    checks=[
        # A set of Python's strings: pandas' own membership of Arrow strings takes seconds on the whole table.
        pa.Check(
            lambda table: table["group"].astype(object).isin(set(table["id"].tolist())),
            error="group is no id; expected one of the table",
        ),
        pa.Check(
            lambda table: table.groupby("normalised")["group"].transform("nunique") == 1,
            error="equal texts are in several groups; expected one",
        ),
        pa.Check(
            lambda table: table.groupby("normalised")["first"].transform("sum") == 1,
            error="equal texts have none or several rows marked first; expected one",
        ),
    ],
    strict=True,
    ordered=True,
)


@dataclass(frozen=True)
class Failure:
    """One value that a schema refuses.

    Args:
        row: its label in the table's index; -1 where the whole table is meant.
        column: its column, or "" where several are meant.
        reason: what it is and what was expected; never a tweet's text.
        index_name: what the label is called in messages: "line" of a raw file, else "row".
    """

    row: int
    column: str
    reason: str
    index_name: str = "row"

    def __str__(self) -> str:
        place = [f"{self.index_name} {self.row}"] if self.row >= 0 else []
        place += [f"column {self.column}"] if self.column else []
        return f"{', '.join(place)}: {self.reason}" if place else self.reason


def find_failures(schema: pa.DataFrameSchema, table: pd.DataFrame) -> list[Failure]:
    """Return what the schema refuses, at most one failure a value, in the order of the rows.

    Args:
        schema: one of this module.
        table: its index has whole numbers; the index' name is used in messages, see `Failure`.
    """
    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
    else:
        return []
    found: dict[tuple[int, str], Failure] = {}
    for case in cases.itertuples():
        row = -1 if pd.isna(case.index) else int(case.index)
        column, reason = _column_and_reason(case, row, table)
        failure = Failure(row, column, reason, str(table.index.name or "row"))
        # Several checks may refuse one value; the first of them, in the schema's order, says most.
        found.setdefault((row, failure.column or failure.reason), failure)
    return sorted(found.values(), key=lambda failure: failure.row)


def failures_text(failures: Sequence[Failure]) -> str:
    """Return the first MAX_SHOWN_FAILURES failures for a message, and how many more there are."""
    more = f"; and {len(failures) - MAX_SHOWN_FAILURES} more" if len(failures) > MAX_SHOWN_FAILURES else ""
    return "; ".join(map(str, failures[:MAX_SHOWN_FAILURES])) + more


def shown(value: str) -> str:
    """Return a value for a message; a long one may be a tweet in a shifted row, whose text is never printed."""
    return repr(value) if len(value) <= MAX_SHOWN_CHARS else f"a text of {len(value)} characters"


def _column_and_reason(case: Any, row: int, table: pd.DataFrame) -> tuple[str, str]:
    """Return what a row of pandera's failure cases says, in this project's words."""
    check, column = str(case.check), str(case.column)
    if case.schema_context == "DataFrameSchema":
        return "", check if row >= 0 else f"{check}: {case.failure_case}"
    if row < 0:  # the column's type
        return column, f"has type {table[column].dtype}; expected {check}"
    value = shown(str(table.at[row, column]))
    if check == "field_uniqueness":
        return column, f"{value} is there more than once; expected each once"
    if check == "not_nullable":
        return column, "is missing; expected a value"
    return column, f"{value} {check}"
