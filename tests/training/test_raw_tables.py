"""Raw files that are not what they must be are refused with file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import kaggle_rows, write_csv, write_t6
from training.errors import DatasetError
from training.raw_tables import read_crisislex, read_folder, read_kaggle

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
        ({"id": 1}, r"line 5, column id: 1 is also on line 2"),
        ({"target": 2}, r"line 5, column target: label '2' is not in the map; expected one of \['1', '0'\]"),
        ({"target": ""}, r"line 5, column target: label ''"),
        ({"text": " "}, r"line 5, column text: empty"),
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
        ("1.2", 1, "line 2, column agreement: '1.2'; expected a share from 0 to 1"),
        ("nan", 1, "line 2, column agreement: 'nan'"),
        ("most", 1, "line 2, column agreement: 'most'"),
        ("0.9", 999, "id 999 and 0 more are not in train.csv"),
    ],
)
def test_read_kaggle_with_bad_agreement_is_refused(tmp_path: Path, value: str, identity: int, message: str) -> None:
    write_csv(tmp_path / "train.csv", kaggle_rows())
    write_csv(tmp_path / "train_agreement.csv", [{"id": identity, "agreement": value}])
    with pytest.raises(DatasetError, match=message):
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
    with pytest.raises(DatasetError, match="50 of 50 rows are unreadable"):
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
