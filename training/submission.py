"""Read Kaggle's test file and write a submission for it."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from training.answer_sources import AnswerError, Answers, AnswerSource, ask
from training.errors import DatasetError

COLUMNS = ("id", "text")
UNCLASSIFIABLE = "EMPTY_TEXT"
_ID = re.compile(r"\d+")
_MAX_SHOWN_CHARS = 30


def write_submission(source: AnswerSource, test_path: Path, submission_path: Path) -> tuple[int, int]:
    """Write `id,target` for every tweet of a test file, in its order.

    A tweet without anything to classify (links and mentions only) gets 0: a submission has no place for doubt.

    Args:
        source: gives the answers.
        test_path: CSV with the columns id and text; others are not read.
        submission_path: is replaced only when all is well.

    Returns:
        Number of rows, and how many of them had nothing to classify.

    Raises:
        DatasetError: the test file cannot be used, with file, row and column; or the submission cannot be written.
        AnswerError: a tweet got no answer.
    """
    ids, texts = read_test(test_path)
    scratch = _scratch_beside(submission_path)
    try:
        answers = ask(source, texts)
        _check(answers, ids, test_path)
        rows = (f"{identity},{int(score >= 0.5)}" for identity, score in zip(ids, answers.scores, strict=True))
        scratch.write_text("\n".join(("id,target", *rows)) + "\n", encoding="utf-8", newline="\n")
        scratch.replace(submission_path)
    finally:
        scratch.unlink(missing_ok=True)
    return len(ids), sum(error == UNCLASSIFIABLE for error in answers.errors)


def read_test(path: Path) -> tuple[list[int], list[str]]:
    """Return ids and texts of a CSV file with the columns id and text.

    Raises:
        DatasetError: a column is missing, an id is no whole number or comes twice, or the file is empty, cut off or
            not UTF-8.
    """
    reader = csv.reader(io.StringIO(_read(path), newline=""), strict=True)
    ids: dict[int, int] = {}
    texts = []
    try:
        header = [name.strip() for name in next(reader)]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise DatasetError(
                f"{path.name} row 1: columns {header} lack {missing}; expected {list(COLUMNS)} among them"
            )
        for row, values in enumerate((values for values in reader if values), start=2):
            if len(values) != len(header):
                raise DatasetError(
                    f"{path.name} row {row} (line {reader.line_num}): {len(values)} columns; expected {len(header)}; a "
                    "quote is missing or the file is cut off"
                )
            identity = _whole(path, row, values[header.index("id")])
            if identity in ids:
                raise DatasetError(
                    f"{path.name} row {row}, column id: {identity} is in row {ids[identity]} too; expected each id once"
                )
            ids[identity] = row
            texts.append(values[header.index("text")])
    except csv.Error as error:
        raise DatasetError(f"{path.name} line {reader.line_num}: no CSV ({error}); fetch the file again") from error
    if not texts:
        raise DatasetError(f"{path.name} has a header and no rows; expected tweets; fetch the file again")
    return list(ids), texts


def _scratch_beside(path: Path) -> Path:
    """Make an empty file beside the path, so that a place that cannot be written to is told before any work."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.touch()
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror}); expected a path in a folder that can be written to"
        ) from error
    return scratch


def _whole(path: Path, row: int, value: str) -> int:
    if _ID.fullmatch(value.strip()) is None:
        shown = repr(value) if len(value) <= _MAX_SHOWN_CHARS else f"a text of {len(value)} characters"
        raise DatasetError(
            f"{path.name} row {row}, column id: {shown} is no whole number; expected digits only; a "
            "spreadsheet may have changed it: fetch the file again"
        )
    return int(value)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({type(error).__name__}); expected Kaggle's test file") from error
    if not raw.strip():
        raise DatasetError(f"{path.name} is empty; expected a header and rows; fetch the file again")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{path.name} line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; fetch it again"
        ) from error


def _check(answers: Answers, ids: Sequence[int], path: Path) -> None:
    for row, (identity, error) in enumerate(zip(ids, answers.errors, strict=True), start=2):
        if error not in ("", UNCLASSIFIABLE):
            raise AnswerError(f"{path.name} row {row}: no answer for id {identity} ({error}); expected one; try again")
