from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.errors import DatasetError
from training.evaluation.answer_sources import Answer, AnswerError, open_bundle
from training.evaluation.submission import SHORT_TEXT_CHARS, Submission, read_test, write_submission
from tweetclf.classifier import MAX_TEXT_CHARS


class Floods:
    """Call every tweet with "flood" a disaster, and give no answer to empty ones."""

    kind, name, model_version = "stub", "stub", "1"

    def __init__(self, error: str = "EMPTY_TEXT") -> None:
        self.error = error

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        return [
            Answer(0.9 if "flood" in text else 0.1, "review") if text else Answer(float("nan"), error=self.error)
            for text in texts
        ]


def test_write_submission_keeps_order_and_ids_of_the_test_file(tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    with test.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "keyword", "location", "text"])
        writer.writerows(
            [[11, "", "", 'a "flood",\nreally'], [3, "", "", "sun"], [0, "", "", ""], [7, "", "", "flood"]]
        )
    assert write_submission(Floods(), test, tmp_path / "new" / "submission.csv") == Submission(4, 1, 0)
    assert (tmp_path / "new" / "submission.csv").read_bytes() == b"id,target\n11,1\n3,0\n0,0\n7,1\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["submission.csv"]


def test_write_submission_when_a_tweet_has_no_answer_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("id,text\n1,flood\n2,\n", encoding="utf-8")
    (tmp_path / "submission.csv").write_text("before", encoding="utf-8")
    with pytest.raises(AnswerError, match=r"test\.csv row 3: no answer for id 2 \(DEADLINE\)"):
        write_submission(Floods("DEADLINE"), tmp_path / "test.csv", tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text(encoding="utf-8") == "before"
    assert len(list(tmp_path.iterdir())) == 2


def test_write_submission_when_the_place_cannot_be_written_says_so_before_asking(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("id,text\n1,flood\n", encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"submission\.csv cannot be written"):
        write_submission(None, tmp_path / "test.csv", tmp_path / "file" / "submission.csv")  # type: ignore[arg-type]


class Patient(Floods):
    """Refuses texts over the limit, as the classifier does, and counts U+FDFA as the 18 characters it becomes."""

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        long = [len(text) + 17 * text.count("\ufdfa") > MAX_TEXT_CHARS for text in texts]
        answers = super().answer(texts)
        return [
            Answer(float("nan"), error="TEXT_TOO_LONG") if is_long else answer
            for is_long, answer in zip(long, answers, strict=True)
        ]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("flood " + "x" * MAX_TEXT_CHARS, 1),
        ("x" * MAX_TEXT_CHARS + " flood", 0),
        ("flood " + "x" * 200_000, 1),  # more than the csv module takes by itself
        ("flood " + "\ufdfa" * (MAX_TEXT_CHARS // 2), 1),
        ("\ufdfa" * SHORT_TEXT_CHARS + "flood " + "\ufdfa" * MAX_TEXT_CHARS, 0),
    ],
)
def test_write_submission_when_a_text_is_too_long_answers_by_its_beginning_and_counts_it(
    tmp_path: Path, text: str, target: int
) -> None:
    (tmp_path / "test.csv").write_text(f"id,text\n1,flood\n2,{text}\n3,sun\n", encoding="utf-8")
    written = write_submission(Patient(), tmp_path / "test.csv", tmp_path / "submission.csv")
    assert written == Submission(rows=3, unclassifiable=0, shortened=1)
    assert "1 answered by the beginning of a text" in str(written)
    expected = f"id,target\n1,1\n2,{target}\n3,0\n"
    assert (tmp_path / "submission.csv").read_text(encoding="utf-8") == expected


def test_write_submission_when_the_real_classifier_refuses_a_text_answers_by_its_beginning(
    tmp_path: Path, tiny_bundle_dir: Path
) -> None:
    texts = ["flood", "a " * MAX_TEXT_CHARS, "\ufdfa" * MAX_TEXT_CHARS, "sun"]
    rows = "\n".join(f"{number},{text}" for number, text in enumerate(texts))
    (tmp_path / "test.csv").write_text(f"id,text\n{rows}\n", encoding="utf-8")
    written = write_submission(open_bundle(tiny_bundle_dir), tmp_path / "test.csv", tmp_path / "submission.csv")
    assert written.rows == 4
    assert written.shortened >= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "test.csv is empty"),
        (b"\n \n", "test.csv is empty"),
        (b"id,text\n", "a header and no rows"),
        (b"id,tweet\n1,a\n", r"row 1: columns \['id', 'tweet'\] have text 0 times"),
        (b"id,text,text\n1,a,b\n", r"row 1: columns \['id', 'text', 'text'\] have text 2 times"),
        (b"id,text\n" + b"1" * 5_000 + b",a\n", "column id: a text of 5000 characters is no whole number"),
        ("id,text\n\u0663,a\n".encode(), "column id: '\u0663' is no whole number"),
        (b"id,text\n1,a\n2,b\n1,c\n", "row 4, column id: 1 is in row 2 too"),
        (b"id,text\n1,a\n01,b\n", "row 3, column id: 1 is in row 2 too"),
        (b"id,text\n1,a\n2.0,b\n", "row 3, column id: '2.0' is no whole number"),
        (b"id,text\n-1,a\n", "row 2, column id: '-1' is no whole number"),
        (b"id,text\n1,a\n2\n", r"row 3 \(line 3\): 1 columns; expected 2"),
        (b'id,text\n1,a\n2,"cut off', "line 3: no CSV"),
        (b"id,text\n1,a\n2,caf\xe9\n", "line 3: byte 0xe9 is not UTF-8"),
        (b"id,text\nsomeone's whole tweet stands here instead,b\n", "column id: a text of 41 characters"),
    ],
)
def test_read_test_when_unusable_names_file_row_and_column(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "test.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_test(path)
    assert "test.csv" in str(caught.value)


def test_read_test_when_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.csv cannot be read"):
        read_test(tmp_path / "nowhere.csv")


def test_read_test_takes_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_bytes(b"\xef\xbb\xbfid,text\r\n5,a\r\n\r\n6,b\r\n")
    assert read_test(path) == ([5, 6], ["a", "b"])
