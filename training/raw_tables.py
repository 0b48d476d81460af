"""Read the collections' raw CSV files into one kind of row, refusing what they must not hold.

The Kaggle file must be clean to the last row. CrisisLex files come from spreadsheets of several hands: a row
that cannot be read is left out and counted, and a file with more than a few such rows is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import DatasetError
from training.labels import KAGGLE, LABEL_MAP, T6, T26

MAX_SKIPPED_SHARE = 0.01
MAX_SHOWN_CHARS = 30
# A spreadsheet rounds ids of this length and writes them so: the tweet can no longer be named.
_FLOAT_ID = re.compile(r"[+-]?\d*\.\d*([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")
_ID = re.compile(r"\d+")


@dataclass(frozen=True)
class RawTweet:
    """One labelled row.

    Args:
        id: collection and the collection's own id, unique in the data set.
        source: a key of `LABEL_MAP`.
        event: the crisis, or "" when the collection knows none.
        keyword: Kaggle's search word, or "".
        text: as written in the file.
        target: 1 disaster, 0 not.
        agreement: share of crowd workers behind the label, or None.
    """

    id: str
    source: str
    event: str
    keyword: str
    text: str
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
    """Read `train.csv`, with `train_agreement.csv` beside it when it is there."""
    path = folder / "train.csv"
    table = RawTable(path)
    agreement = _read_agreement(folder / "train_agreement.csv")
    seen: dict[str, int] = {}
    for line, row in _rows(path, ("id", "keyword", "location", "text", "target")):
        identity = _checked_id(path, line, "id", row["id"])
        if identity in seen:
            raise DatasetError(f"{path.name} line {line}, column id: {identity} is also on line {seen[identity]}")
        seen[identity] = line
        if not row["text"].strip():
            raise DatasetError(f"{path.name} line {line}, column text: empty; expected a tweet")
        target = _mapped(path, line, "target", KAGGLE, row["target"])
        if target is None:  # no label of Kaggle's maps to None today; the map may change
            table.skip(f"label {row['target']!r} does not answer the question")
            continue
        table.rows.append(
            RawTweet(
                id=f"{KAGGLE}:{identity}",
                source=KAGGLE,
                event="",
                keyword=row["keyword"].replace("%20", " "),
                text=row["text"],
                target=target,
                agreement=agreement.get(identity),
            )
        )
    unknown = sorted(agreement.keys() - seen.keys())
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
    columns = _CRISISLEX_COLUMNS[source]
    identity_column, text_column, label_column = columns[0], columns[1], columns[-1]
    table = RawTable(path)
    seen: set[str] = set()
    unreadable = 0
    number = 0
    for line, row in _rows(path, columns, on_bad_row=lambda reason: table.skip(reason)):
        number += 1
        identity = row[identity_column].strip().strip("'")
        try:
            identity = _checked_id(path, line, identity_column, identity)
            target = _mapped(path, line, label_column, source, row[label_column])
        except DatasetError as error:
            table.skip(str(error).partition(": ")[2].partition(";")[0])
            unreadable += 1
            continue
        if target is None:
            table.skip(f"label {row[label_column]!r} does not answer the question")
        elif not row[text_column].strip():
            table.skip("no text")
        elif identity in seen:
            table.skip("id met before in the file")
        else:
            seen.add(identity)
            table.rows.append(
                RawTweet(f"{source}:{path.stem}:{identity}", source, path.stem, "", row[text_column], target)
            )
    unreadable += sum(count for reason, count in table.skipped.items() if reason.endswith("columns"))
    if unreadable > MAX_SKIPPED_SHARE * max(number, 1):
        raise DatasetError(
            f"{path.name}: {unreadable} of {number} rows are unreadable ({table.skipped}); expected at most "
            f"{MAX_SKIPPED_SHARE:.0%}; fetch the file again"
        )
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


_CRISISLEX_COLUMNS: Mapping[str, tuple[str, ...]] = {
    T6: ("tweet id", "tweet", "label"),
    T26: ("Tweet ID", "Tweet Text", "Information Source", "Information Type", "Informativeness"),
}


def _read_agreement(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    values: dict[str, float] = {}
    for line, row in _rows(path, ("id", "agreement")):
        try:
            value = float(row["agreement"])
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 1.0:
            raise DatasetError(
                f"{path.name} line {line}, column agreement: {_shown(row['agreement'])}; expected a share from 0 to 1"
            )
        values[_checked_id(path, line, "id", row["id"])] = value
    return values


def _rows(
    path: Path, columns: tuple[str, ...], on_bad_row: Callable[[str], None] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file whose header must be exactly `columns`."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), skipinitialspace=True, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        _check_header(path, header, columns)
        for values in reader:
            if not values:
                continue
            if len(values) == len(columns):
                yield reader.line_num, dict(zip(columns, values, strict=True))
            elif on_bad_row is not None:
                on_bad_row(f"{len(values)} instead of {len(columns)} columns")
            else:
                raise DatasetError(
                    f"{path.name} line {reader.line_num}: {len(values)} columns; expected {len(columns)} "
                    f"({', '.join(columns)}); a quote is missing or the file is cut off"
                )
    except csv.Error as error:
        raise DatasetError(f"{path.name} line {reader.line_num}: no CSV ({error}); fetch the file again") from error


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path.name} is missing in {path.parent}; expected the collection's file; run "
            "`python -m training.make_dataset --download`, or give the right folder to --from"
        ) from error
    if not raw.strip():
        raise DatasetError(f"{path.name} is empty; expected a header and rows; fetch it again")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{path.name} line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; a spreadsheet has saved the file in "
            "another encoding; fetch it again"
        ) from error


def _check_header(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    if header != list(columns):
        missing = [name for name in columns if name not in header]
        extra = [name for name in header if name not in columns]
        raise DatasetError(
            f"{path.name} line 1: columns {header}; expected {list(columns)} (missing {missing}, too many {extra})"
        )


def _checked_id(path: Path, line: int, column: str, value: str) -> str:
    if _ID.fullmatch(value):
        return value
    reason = "a number with a fraction: a spreadsheet has rounded it" if _FLOAT_ID.fullmatch(value) else "no id"
    raise DatasetError(
        f"{path.name} line {line}, column {column}: {_shown(value)} is {reason}; expected digits only; fetch the "
        "file again"
    )


def _mapped(path: Path, line: int, column: str, source: str, value: str) -> int | None:
    table = LABEL_MAP[source]
    if value.strip() not in table:
        raise DatasetError(
            f"{path.name} line {line}, column {column}: label {_shown(value)} is not in the map; expected one of "
            f"{list(table)}"
        )
    return table[value.strip()]


def _shown(value: str) -> str:
    # In a shifted row a tweet stands where a label should: its text is never printed.
    return repr(value) if len(value) <= MAX_SHOWN_CHARS else f"a text of {len(value)} characters"
