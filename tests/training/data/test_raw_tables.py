"""Raw files that are not what they must be are refused with file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import kaggle_rows, write_csv, write_t6
from training.data.raw_tables import read_crisislex, read_folder, read_kaggle
from training.errors import DatasetError

T6_NAME = "2013_Test_Floods.csv"


def test_read_folder_of_good_files_returns_every_row_with_its_label(raw_dir: Path) -> None:
    kaggle, t6, t26 = read_folder(raw_dir)
    assert len(kaggle.rows) == 126
    assert kaggle.rows[0].id == "kaggle:1"
    assert kaggle.rows[0].agreement == pytest.approx(0.9)
    assert [row.target for row in t6.rows] == [1] * 9 + [0] * 9
    assert t6.rows[0].id == "crisislex_t6:2013_Test_Floods:1000"
    assert t6.rows[0].text == 'river rises over street number 0 "by the Marlow" today'
    assert t6.rows[0].event == "2013_Test_Floods"
    assert [row.target for row in t26.rows] == [1, 0, 1]
    assert t26.skipped == {"label 'Not applicable' does not answer the question": 1}


def _changed(change: dict[str, object], row: int = 3) -> list[dict[str, object]]:
    rows = kaggle_rows()
    rows[row] = {**rows[row], **change}
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "4.0"}, r"train\.csv line 5, column id: '4\.0' is a number with a fraction"),
        ({"id": "5.8E+17"}, r"line 5, column id: '5\.8E\+17' is a number with a fraction"),
        ({"id": ""}, r"line 5, column id: '' is no id"),
        ({"id": 1}, r"line 5, column id: '1' is there more than once"),
        ({"target": 2}, r"line 5, column target: '2' is not in the label map; expected one of \['1', '0'\]"),
        ({"target": ""}, r"line 5, column target: '' is not in the label map"),
        ({"text": " "}, r"line 5, column text: '' holds nothing; expected a tweet"),
    ],
)
def test_read_kaggle_of_a_bad_value_names_line_and_column(tmp_path: Path, change: dict, message: str) -> None:
    write_csv(tmp_path / "train.csv", _changed(change))
    with pytest.raises(DatasetError, match=message):
        read_kaggle(tmp_path)


def test_read_kaggle_of_a_tweet_in_the_label_column_does_not_print_it(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", _changed({"target": "the bridge in Marlow is gone, says my aunt"}))
    with pytest.raises(DatasetError, match="a text of 42 characters") as caught:
        read_kaggle(tmp_path)
    assert "Marlow" not in str(caught.value)


def test_read_kaggle_of_missing_and_extra_columns_names_both(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "fire", "label": 1}]
    write_csv(tmp_path / "train.csv", rows)
    with pytest.raises(DatasetError, match=r"missing \['keyword', 'location', 'target'\], too many \['label'\]"):
        read_kaggle(tmp_path)


def test_read_kaggle_of_another_encoding_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b"id,keyword,location,text,target\n1,,,fine,1\n2,,,caf\xe9,0\n")
    with pytest.raises(DatasetError, match=r"train\.csv line 3: byte 0xe9 is not UTF-8"):
        read_kaggle(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_read_kaggle_of_an_empty_file_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"train\.csv is empty"):
        read_kaggle(tmp_path)


@pytest.mark.parametrize("encoding", ["cp1252", "mac-roman"])
def test_read_kaggle_of_a_spreadsheets_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "train.csv").write_text("id,keyword,location,text,target\n1,,,caf\u00e9 on fire,1\n", encoding=encoding)
    with pytest.raises(DatasetError, match=r"train\.csv line \d: byte 0x.. is not UTF-8; a spreadsheet"):
        read_kaggle(tmp_path)


def test_read_kaggle_of_a_byte_order_mark_reads_the_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", kaggle_rows())
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "train.csv").read_bytes())
    assert len(read_kaggle(tmp_path).rows) == 126


def test_read_kaggle_of_a_header_alone_says_so(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,keyword,location,text,target\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"train\.csv has a header and no rows"):
        read_kaggle(tmp_path)


def test_read_kaggle_of_many_bad_values_names_five_and_counts_the_rest(tmp_path: Path) -> None:
    rows = [{**row, "id": f"{row['id']}.0"} if row["id"] % 10 == 3 else row for row in kaggle_rows()]
    rows[1]["target"] = "yes"
    write_csv(tmp_path / "train.csv", rows)
    with pytest.raises(DatasetError, match=r"line 3, column target: 'yes' .*; line 34, column id: .*; and 9 more; "):
        read_kaggle(tmp_path)


def test_read_kaggle_of_a_cut_off_file_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,keyword,location,text,target\n1,,,fire,1\n2,,,flo", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"train\.csv line 3: 4 columns; expected 5"):
        read_kaggle(tmp_path)


def test_read_kaggle_of_an_open_quote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('id,keyword,location,text,target\n1,,,"fire,1\n', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"train\.csv line \d: no CSV"):
        read_kaggle(tmp_path)


def test_read_kaggle_without_the_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train\.csv is missing .* --download"):
        read_kaggle(tmp_path)


@pytest.mark.parametrize(
    ("value", "identity", "message"),
    [
        ("1.2", 1, "line 2, column agreement: '1.2' is no share; expected one from 0 to 1"),
        ("nan", 1, "line 2, column agreement: 'nan'"),
        ("most", 1, "line 2, column agreement: 'most'"),
        ("0.9", "1.0", "line 2, column id: '1.0' is a number with a fraction"),
        ("0.9", 999, "id 999 and 0 more are not in train.csv"),
    ],
)
def test_read_kaggle_with_bad_agreement_is_refused(tmp_path: Path, value: str, identity: object, message: str) -> None:
    write_csv(tmp_path / "train.csv", kaggle_rows())
    write_csv(tmp_path / "train_agreement.csv", [{"id": identity, "agreement": value}])
    with pytest.raises(DatasetError, match=message):
        read_kaggle(tmp_path)


def test_read_kaggle_with_agreement_given_twice_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", kaggle_rows())
    write_csv(tmp_path / "train_agreement.csv", [{"id": 1, "agreement": share} for share in (0.9, 0.6)])
    with pytest.raises(DatasetError, match=r"train_agreement\.csv line 3, column id: '1' is there more than once"):
        read_kaggle(tmp_path)


def test_read_crisislex_with_few_unreadable_rows_counts_them(tmp_path: Path) -> None:
    rows = [(str(index), f"tweet number {index}", "on-topic") for index in range(300)]
    rows[7] = ("5.8E+17", "rounded id", "on-topic")
    rows[8] = ("8", "unknown label", "maybe")
    rows[9] = ("3", "twice", "off-topic")
    path = write_t6(tmp_path / T6_NAME, rows)
    table = read_crisislex(path, "crisislex_t6")
    assert len(table.rows) == 297
    assert sum(table.skipped.values()) == 3
    assert table.skipped["id met before in the file"] == 1


def test_read_crisislex_with_many_unreadable_rows_is_refused(tmp_path: Path) -> None:
    path = write_t6(tmp_path / T6_NAME, [(f"{index}.0", f"tweet {index}", "on-topic") for index in range(50)])
    with pytest.raises(DatasetError, match=r"50 of 50 rows are unreadable, the first: line 2, column tweet id: '0\.0'"):
        read_crisislex(path, "crisislex_t6")


def test_read_crisislex_with_shifted_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / T6_NAME
    path.write_text("tweet id, tweet, label\n" + "'1',rain, rain, rain,on-topic\n" * 5, encoding="utf-8")
    with pytest.raises(DatasetError, match="5 instead of 3 columns"):
        read_crisislex(path, "crisislex_t6")


@pytest.mark.real_data
def test_read_folder_of_the_real_files_finds_every_row(real_data: Path) -> None:
    tables = {table.path.name: table for table in read_folder(real_data)}
    assert len(tables["train.csv"].rows) == 7613
    for path in (real_data / "crisislex" / "t6").glob("*.csv"):
        table = tables[path.name]
        assert len(table.rows) + sum(table.skipped.values()) > 9_900
        assert sum(table.skipped.values()) <= 5
