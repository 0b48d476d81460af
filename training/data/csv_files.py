"""Read a CSV file of any of this project's tables as text, and name what a spreadsheet made of it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.errors import DatasetError

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32-LE begins as UTF-16-LE does
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_SAVE_AS = 'save it from the spreadsheet as "CSV UTF-8 (comma delimited)", or fetch it again'
_SAMPLE_BYTES = 1_000


def read_csv(path: Path, columns: Sequence[str], spaces_after_commas: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the line that it ends on, values) of the header and of every row that is not blank.

    A value may be of any length.

    Args:
        path: a file of UTF-8 text, with or without a byte-order mark.
        columns: names that the header must have; they show which separator a file has.
        spaces_after_commas: leave out the spaces after a comma.

    Raises:
        DatasetError: the file is missing, empty, in another encoding, holds a NUL byte, is separated by something
            else than commas, or is no CSV; names file and line.
    """
    text = _decode(path)
    if not text.strip():  # a byte-order mark alone
        raise DatasetError(f"{path.name} is empty; expected a header and rows; fetch it again")
    _check_separator(path, text, columns)
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=spaces_after_commas, strict=True)
    rows = _long_values(reader, len(text))
    try:
        for values in rows:
            if values:
                yield reader.line_num, values
    except csv.Error as error:
        raise DatasetError(f"{path.name} line {reader.line_num}: no CSV ({error}); fetch the file again") from error


def _long_values(reader: Iterator[list[str]], max_chars: int) -> Iterator[list[str]]:
    """Yield the rows; the limit of a value, which the csv module keeps for all readers, is raised for each row only."""
    while True:
        before = csv.field_size_limit(max(max_chars, csv.field_size_limit()))
        try:
            values = next(reader, None)
        finally:
            csv.field_size_limit(before)
        if values is None:
            return
        yield values


def _decode(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); expected a CSV file") from error
    sample = raw[:_SAMPLE_BYTES]
    if raw.startswith(_MARKS) or sample.count(0) * 3 > len(sample):
        raise DatasetError(f"{path.name} is UTF-16 or UTF-32, a spreadsheet's; expected UTF-8; {_SAVE_AS}")
    # Python 3.10's csv module refuses a NUL and later ones take it: here it means the same on all.
    if (place := raw.find(b"\0")) >= 0:
        raise DatasetError(
            f"{path.name} line {_line(raw, place)}: holds a NUL byte; expected text; the file is damaged; fetch it "
            "again"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path.name} line {_line(raw, error.start)}: byte 0x{raw[error.start]:02x} is not UTF-8; a spreadsheet "
            f"has saved the file in another encoding; {_SAVE_AS}"
        ) from error


def _line(raw: bytes, place: int) -> int:
    return raw.count(b"\n", 0, place) + 1


def _check_separator(path: Path, text: str, columns: Sequence[str]) -> None:
    first = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    if first.replace('"', "").strip().lower().startswith("sep="):
        raise DatasetError(
            f"{path.name} line 1 is {first[:20].strip()!r}, which a spreadsheet writes; expected the columns' names "
            f"{list(columns)} there; {_SAVE_AS}"
        )
    for separator, name in _OTHER_SEPARATORS.items():
        if _known(first, separator, columns) > _known(first, ",", columns):
            raise DatasetError(
                f"{path.name} line 1: the columns are separated by {name}, as a spreadsheet may write them; expected "
                f"commas; {_SAVE_AS}"
            )


def _known(header: str, separator: str, columns: Sequence[str]) -> int:
    return len({part.strip(" \"'") for part in header.split(separator)} & set(columns))
