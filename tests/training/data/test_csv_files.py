"""A CSV file means the same on every Python, and what a spreadsheet made of it is named."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

import pytest

from tests.training.conftest import kaggle_rows, write_csv
from training.data.csv_files import read_csv
from training.data.raw_tables import read_crisislex, read_kaggle
from training.errors import DatasetError
from training.evaluation.behaviour import read_cases
from training.evaluation.submission import read_test

COLUMNS = ("id", "text")


def read(folder: Path, content: bytes) -> list[tuple[int, list[str]]]:
    (folder / "a.csv").write_bytes(content)
    return list(read_csv(folder / "a.csv", COLUMNS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id;text\r\n1;fire\r\n", "line 1: the columns are separated by semicolons.*expected commas"),
        (b'"id";"text"\n1;"fire, fire"\n', "separated by semicolons"),
        (b"\xef\xbb\xbfid;keyword;text\n1;;fire\n", "separated by semicolons"),
        (b"id\ttext\n1\tfire\n", "separated by tabs"),
        (b"id | text\n1 | fire\n", "separated by bars"),
        (b"sep=;\nid;text\n1;fire\n", r"line 1 is 'sep=;', which a spreadsheet writes"),
        (b"sep=,\r\nid,text\r\n1,fire\r\n", r"line 1 is 'sep=,', which a spreadsheet writes"),
        (b'"SEP=,"\nid,text\n1,fire\n', "which a spreadsheet writes"),
        ("id,text\n1,fire\n".encode("utf-16"), "is UTF-16 or UTF-32"),
        (codecs.BOM_UTF16_BE + "id,text\n1,fire\n".encode("utf-16-be"), "is UTF-16 or UTF-32"),
        ("id\ttext\n1\tfire\n".encode("utf-16-le"), "is UTF-16 or UTF-32"),
        ("id,text\n1,fire\n".encode("utf-32"), "is UTF-16 or UTF-32"),
        ("id,text\n1,caf\u00e9\n".encode("cp1252"), "line 2: byte 0xe9 is not UTF-8; a spreadsheet"),
        (b"", "a.csv is empty"),
        (b" \n\n", "a.csv is empty"),
        (codecs.BOM_UTF8, "a.csv is empty"),
    ],
)
def test_read_csv_when_a_spreadsheet_wrote_it_otherwise_names_how(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"a\.csv.*{message.removeprefix('a.csv ')}"):
        read(tmp_path, content)


def test_read_csv_when_semicolons_and_tabs_are_in_values_reads_them(tmp_path: Path) -> None:
    assert read(tmp_path, b'id,text\n1,"a;b\tc|d"\n\n2,sep=;\n') == [
        (1, ["id", "text"]),
        (2, ["1", "a;b\tc|d"]),
        (4, ["2", "sep=;"]),
    ]


def test_read_csv_when_a_value_is_longer_than_the_csv_modules_limit_reads_it_and_leaves_the_limit(
    tmp_path: Path,
) -> None:
    limit = csv.field_size_limit()
    rows = read(tmp_path, b"id,text\n1," + b"x" * (limit + 1) + b"\n")
    assert len(rows[1][1][1]) == limit + 1
    assert csv.field_size_limit() == limit


T6_HEADER = b"tweet id, tweet, label\n"


@pytest.mark.parametrize("value", [b"fi\0re", b"\0", b'"fi\0re"'], ids=["inside", "alone", "quoted"])
def test_every_reader_when_a_value_holds_a_nul_byte_names_the_line(tmp_path: Path, value: bytes) -> None:
    message = r"line 3: holds a NUL byte"
    write_csv(tmp_path / "train.csv", kaggle_rows()[:1])
    with (tmp_path / "train.csv").open("ab") as file:
        file.write(b"2,,," + value + b",1\n")
    with pytest.raises(DatasetError, match=rf"train\.csv {message}"):
        read_kaggle(tmp_path)
    (tmp_path / "t6.csv").write_bytes(T6_HEADER + b"'1',rain,on-topic\n'2'," + value + b",on-topic\n")
    with pytest.raises(DatasetError, match=rf"t6\.csv {message}"):
        read_crisislex(tmp_path / "t6.csv", "crisislex_t6")
    (tmp_path / "test.csv").write_bytes(b"id,text\n1,rain\n2," + value + b"\n")
    with pytest.raises(DatasetError, match=rf"test\.csv {message}"):
        read_test(tmp_path / "test.csv")
    (tmp_path / "functionality.csv").write_bytes(
        b"id,capability,text,label\n1,a,rain,disaster\n2,a," + value + b",disaster\n"
    )
    with pytest.raises(DatasetError, match=rf"functionality\.csv {message}"):
        read_cases(tmp_path)
