"""Read the collections' raw CSV files into one kind of row, refusing what they must not hold.

The Kaggle file must be clean to the last row. CrisisLex files come from spreadsheets of several hands: a row
that cannot be read is left out and counted, and a file with more than a few such rows is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from training.data.csv_files import read_csv
from training.data.labels import KAGGLE, LABEL_MAP, T6, T26
from training.data.table_schemas import AGREEMENT, MAX_SHOWN_FAILURES, RAW_SCHEMAS, failures_text, find_failures
from training.errors import DatasetError

MAX_SKIPPED_SHARE = 0.01


@dataclass(frozen=True)
class RawTweet:
    """One labelled row.

    Args:
        id: collection and the collection's own id, unique in the data set.
        source: a key of `LABEL_MAP`.
        event: the crisis, or "" when the collection knows none.
        keyword: Kaggle's search word, or "".
        text: as written in the file.
        label: the collection's own, a key of its `LABEL_MAP`.
        target: 1 disaster, 0 not.
        agreement: share of crowd workers behind the label, or None.
    """

    id: str
    source: str
    event: str
    keyword: str
    text: str
    label: str
    target: int
    agreement: float | None = None


@dataclass
class RawTable:
    """The rows of one file with what was left out and why."""

    path: Path
    rows: list[RawTweet] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        """Count a row that is left out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def read_kaggle(folder: Path) -> RawTable:
    """Read `train.csv`, with `train_agreement.csv` beside it when it is there.

    Raises:
        DatasetError: any row is not what it must be; names up to MAX_SHOWN_FAILURES lines and columns.
    """
    path = folder / "train.csv"
    table = RawTable(path)
    agreement = _read_agreement(folder / "train_agreement.csv")
    values = _checked(path, KAGGLE)
    for row in values.to_dict("records"):
        target = LABEL_MAP[KAGGLE][row["target"]]
        if target is None:  # no label of Kaggle's maps to None today; the map may change
            table.skip(_says_nothing(row["target"]))
            continue
        table.rows.append(
            RawTweet(
                id=f"{KAGGLE}:{row['id']}",
                source=KAGGLE,
                event="",
                keyword=row["keyword"].replace("%20", " "),
                text=row["text"],
                label=row["target"],
                target=target,
                agreement=agreement.get(row["id"]),
            )
        )
    unknown = sorted(agreement.keys() - set(values["id"]))
    if unknown:
        raise DatasetError(f"train_agreement.csv: id {unknown[0]} and {len(unknown) - 1} more are not in {path.name}")
    return table


def read_crisislex(path: Path, source: str) -> RawTable:
    """Read one event's file of CrisisLexT6 or T26; the file's name is the event's.

    Args:
        path: a CSV file.
        source: T6 or T26.

    Raises:
        DatasetError: the header is another, or more than MAX_SKIPPED_SHARE of the rows are unreadable.
    """
    columns = tuple(RAW_SCHEMAS[source].columns)
    identity_column, text_column, label_column = columns[0], columns[1], columns[-1]
    table = RawTable(path)
    values = _frame(path, source, on_bad_row=table.skip)
    failures = {failure.row: failure for failure in find_failures(RAW_SCHEMAS[source], values)}
    number = len(values) + sum(table.skipped.values())
    unreadable = number - len(values) + len(failures)
    if unreadable > MAX_SKIPPED_SHARE * max(number, 1):
        reasons = [*map(str, failures.values()), *table.skipped][:MAX_SHOWN_FAILURES]
        raise DatasetError(
            f"{path.name}: {unreadable} of {number} rows are unreadable, the first: {' | '.join(reasons)}; expected at "
            f"most {MAX_SKIPPED_SHARE:.0%}; fetch the file again"
        )
    for failure in failures.values():
        table.skip(f"column {failure.column}: {failure.reason.partition(';')[0]}")
    seen: set[str] = set()
    for row in values.drop(index=list(failures)).to_dict("records"):
        identity, label = row[identity_column], row[label_column]
        target = LABEL_MAP[source][label]
        if target is None:
            table.skip(_says_nothing(label))
        elif not row[text_column].strip():
            table.skip("no text")
        elif identity in seen:
            table.skip("id met before in the file")
        else:
            seen.add(identity)
            name = f"{source}:{path.stem}:{identity}"
            table.rows.append(RawTweet(name, source, path.stem, "", row[text_column], label, target))
    return table


def read_folder(folder: Path) -> list[RawTable]:
    """Read every labelled file of a raw folder: train.csv, crisislex/t6/*.csv, crisislex/t26/*.csv.

    Raises:
        DatasetError: train.csv is missing, or a file cannot be used.
    """
    tables = [read_kaggle(folder)]
    for source, name in ((T6, "t6"), (T26, "t26")):
        paths = sorted((folder / "crisislex" / name).glob("*.csv"))
        tables += [read_crisislex(path, source) for path in paths]
    identities: set[str] = set()
    for table in tables:
        for row in table.rows:
            if row.id in identities:
                raise DatasetError(f"{table.path.name}: {row.id} is also in another file; expected each row once")
            identities.add(row.id)
    return tables


def _read_agreement(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    values = _checked(path, AGREEMENT)
    return dict(zip(values["id"], values["agreement"].astype(float), strict=True))


def _says_nothing(label: str) -> str:
    return f"label {label!r} does not answer the question"


def _checked(path: Path, kind: str) -> pd.DataFrame:
    """Return the rows of a file that must be clean to the last one; see `_frame`."""
    values = _frame(path, kind)
    failures = find_failures(RAW_SCHEMAS[kind], values)
    if failures:
        raise DatasetError(f"{path.name} {failures_text(failures)}; correct the file or fetch it again")
    return values


def _frame(path: Path, kind: str, on_bad_row: Callable[[str], None] | None = None) -> pd.DataFrame:
    """Return a file's values as text, each under the line that it ends on; blanks around ids and labels are gone."""
    columns = tuple(RAW_SCHEMAS[kind].columns)
    quote = "'" if kind in (T6, T26) else ""  # keeps a spreadsheet from rounding the id
    lines, rows = [], []
    for line, row in _rows(path, columns, on_bad_row):
        lines.append(line)
        rows.append((row[0].strip().strip(quote), *row[1:-1], row[-1].strip()))
    return pd.DataFrame(rows, index=pd.Index(lines, dtype="int64", name="line"), columns=list(columns), dtype=str)


def _rows(
    path: Path, columns: tuple[str, ...], on_bad_row: Callable[[str], None] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, values) of a CSV file whose header must be exactly `columns`."""
    if not path.is_file():
        raise DatasetError(
            f"{path.name} is missing in {path.parent}; expected the collection's file; run "
            "`python -m training.make_dataset --download`, or give the right folder to --from"
        )
    rows = read_csv(path, columns, spaces_after_commas=True)
    _, header = next(rows)
    _check_header(path, [name.strip() for name in header], columns)
    empty = True
    for line, values in rows:
        empty = False
        if len(values) == len(columns):
            yield line, values
        elif on_bad_row is not None:
            on_bad_row(f"{len(values)} instead of {len(columns)} columns")
        else:
            raise DatasetError(
                f"{path.name} line {line}: {len(values)} columns; expected {len(columns)} "
                f"({', '.join(columns)}); a quote is missing or the file is cut off"
            )
    if empty:
        raise DatasetError(f"{path.name} has a header and no rows; expected tweets; fetch the file again")


def _check_header(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    if header != list(columns):
        missing = [name for name in columns if name not in header]
        extra = [name for name in header if name not in columns]
        raise DatasetError(
            f"{path.name} line 1: columns {header}; expected {list(columns)} (missing {missing}, too many {extra})"
        )
