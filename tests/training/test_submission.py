from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.answer_sources import Answer, AnswerError
from training.errors import DatasetError
from training.submission import read_test, write_submission


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
    assert write_submission(Floods(), test, tmp_path / "new" / "submission.csv") == (4, 1)
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "test.csv is empty"),
        (b"\n \n", "test.csv is empty"),
        (b"id,text\n", "a header and no rows"),
        (b"id,tweet\n1,a\n", r"row 1: columns \['id', 'tweet'\] lack \['text'\]"),
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
