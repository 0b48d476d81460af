"""Read Kaggle's test file and write a submission for it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.csv_files import read_csv
from training.errors import DatasetError
from training.evaluation.answer_sources import AnswerError, Answers, AnswerSource, ask
from tweetclf.classifier import MAX_TEXT_CHARS

COLUMNS = ("id", "text")
UNCLASSIFIABLE, TOO_LONG = "EMPTY_TEXT", "TEXT_TOO_LONG"
SHORT_TEXT_CHARS = 500  # no character becomes more than 18 when it is normalised (NFKC), so never over the limit
MAX_ID_DIGITS = 20
_ID = re.compile(rf"[0-9]{{1,{MAX_ID_DIGITS}}}")
_MAX_SHOWN_CHARS = 30


@dataclass(frozen=True)
class Submission:
    """What was written.

    Args:
        rows: one a tweet of the test file.
        unclassifiable: rows that are 0 since there is nothing to classify.
        shortened: rows whose text is too long for the classifier, answered by its beginning.
    """

    rows: int
    unclassifiable: int
    shortened: int

    def __str__(self) -> str:
        return (
            f"{self.rows} rows, {self.unclassifiable} of them 0 because there is nothing to classify, "
            f"{self.shortened} answered by the beginning of a text that is too long"
        )


def write_submission(source: AnswerSource, test_path: Path, submission_path: Path) -> Submission:
    """Write `id,target` for every tweet of a test file, in its order.

    A submission has no place for doubt. A tweet without anything to classify (links and mentions only) gets 0. A text
    that is too long for the classifier is classified by its first MAX_TEXT_CHARS characters; where these become
    longer when they are normalised, by its first SHORT_TEXT_CHARS.

    Args:
        source: gives the answers.
        test_path: CSV with the columns id and text; others are not read.
        submission_path: is replaced only when all is well.

    Returns:
        Counts of the rows, and of those that such a rule has answered.

    Raises:
        DatasetError: the test file cannot be used, with file, row and column; or the submission cannot be written.
        AnswerError: a tweet got no answer.
    """
    ids, texts = read_test(test_path)
    scratch = _scratch_beside(submission_path)
    try:
        answers, shortened = _ask(source, texts)
        _check(answers, ids, test_path)
        rows = (f"{identity},{int(score >= 0.5)}" for identity, score in zip(ids, answers.scores, strict=True))
        scratch.write_text("\n".join(("id,target", *rows)) + "\n", encoding="utf-8", newline="\n")
        scratch.replace(submission_path)
    finally:
        scratch.unlink(missing_ok=True)
    return Submission(len(ids), sum(error == UNCLASSIFIABLE for error in answers.errors), shortened)


def _ask(source: AnswerSource, texts: Sequence[str]) -> tuple[Answers, int]:
    """Return the answers, and how many texts were shortened for theirs; see `write_submission`."""
    long = {row for row, text in enumerate(texts) if len(text) > MAX_TEXT_CHARS}
    answers = ask(source, [text[:MAX_TEXT_CHARS] for text in texts])
    still = [row for row, error in enumerate(answers.errors) if error == TOO_LONG]
    if not still:
        return answers, len(long)
    second = ask(source, [texts[row][:SHORT_TEXT_CHARS] for row in still])
    scores, decisions, errors = answers.scores.copy(), list(answers.decisions), list(answers.errors)
    for place, row in enumerate(still):
        scores[row], decisions[row], errors[row] = second.scores[place], second.decisions[place], second.errors[place]
    return Answers(scores, tuple(decisions), tuple(errors)), len(long | set(still))


def read_test(path: Path) -> tuple[list[int], list[str]]:
    """Return ids and texts of a CSV file with the columns id and text.

    Raises:
        DatasetError: a column is missing, an id is no whole number or comes twice, or the file is not what
            `training.data.csv_files.read_csv` expects.
    """
    rows = read_csv(path, COLUMNS)
    header = [name.strip() for name in next(rows)[1]]
    for name in COLUMNS:
        if header.count(name) != 1:
            raise DatasetError(
                f"{path.name} row 1: columns {header} have {name} {header.count(name)} times; expected {list(COLUMNS)} "
                "among them, each once"
            )
    ids: dict[int, int] = {}
    texts = []
    for row, (line, values) in enumerate(rows, start=2):
        if len(values) != len(header):
            raise DatasetError(
                f"{path.name} row {row} (line {line}): {len(values)} columns; expected {len(header)}; a quote is "
                "missing or the file is cut off"
            )
        identity = _whole(path, row, values[header.index("id")])
        if identity in ids:
            raise DatasetError(
                f"{path.name} row {row}, column id: {identity} is in row {ids[identity]} too; expected each id once"
            )
        ids[identity] = row
        texts.append(values[header.index("text")])
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
            f"{path.name} row {row}, column id: {shown} is no whole number of 1 to {MAX_ID_DIGITS} digits; a "
            "spreadsheet may have changed it: fetch the file again"
        )
    return int(value)


def _check(answers: Answers, ids: Sequence[int], path: Path) -> None:
    for row, (identity, error) in enumerate(zip(ids, answers.errors, strict=True), start=2):
        if error not in ("", UNCLASSIFIABLE):
            raise AnswerError(f"{path.name} row {row}: no answer for id {identity} ({error}); expected one; try again")
