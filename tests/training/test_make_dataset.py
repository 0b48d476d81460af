"""The data step folds duplicates, records hashes, and stops when a raw file has changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.training.conftest import kaggle_rows, write_csv
from training.data.data_lock import lock_entries
from training.data.download import CRISISLEX_FILES
from training.data.raw_tables import read_folder
from training.data.splits import to_learn_from
from training.errors import DatasetError
from training.make_dataset import COLUMNS, TIE, check_prepared, main, make_dataset
from tweetclf.text import normalise


def _arguments(raw_dir: Path, tmp_path: Path) -> list[str]:
    folders = {"--from": raw_dir, "--interim": tmp_path / "interim", "--out": tmp_path / "out"}
    # The lock of the repository is of the real files.
    return [str(word) for pair in folders.items() for word in pair] + ["--lock", str(tmp_path / "data.lock.json")]


def _table(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "tweets.parquet")


def test_make_dataset_of_good_files_writes_table_lock_and_report(raw_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(_arguments(raw_dir, tmp_path)) == 0
    table = _table(out)
    assert list(table.columns) == list(COLUMNS)
    assert table["source"].value_counts().to_dict() == {"kaggle": 126, "crisislex_t6": 18, "crisislex_t26": 3}
    assert table["id"].is_unique
    assert (table["normalised"] == table["text"].map(normalise)).all()
    assert set(table["group"]) <= set(table["id"])
    lock = json.loads((out / "data.lock.json").read_text())["files"]
    assert set(lock) == {
        "train.csv",
        "train_agreement.csv",
        "crisislex/t6/2013_Test_Floods.csv",
        "crisislex/t26/2013_Test_quake.csv",
    }
    content = (raw_dir / "train.csv").read_bytes()
    assert lock["train.csv"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert lock["train.csv"]["rows"] == 126
    rows = pd.read_parquet(tmp_path / "interim" / "rows.parquet")
    assert len(rows) == 126 + 18 + 3
    assert (rows["text"] == table["text"]).all()
    assert set(rows["label"]) == {"0", "1", "on-topic", "off-topic", "Related and informative", "Not related"} | {
        "Related - but not informative"
    }


def test_make_dataset_of_duplicates_keeps_their_labels_and_adds_the_majority(raw_dir: Path, tmp_path: Path) -> None:
    rows = kaggle_rows()
    texts = ["Dam breaks at Tolm http://t.co/a", "Dam breaks at Tolm http://t.co/b", "Dam breaks at Tolm https://x.org"]
    for offset, (text, target) in enumerate(zip(texts, (0, 1, 1), strict=True)):
        rows.append({"id": 900 + offset, "keyword": "", "location": "", "text": text, "target": target})
    for offset, target in enumerate((1, 0)):
        rows.append({"id": 950 + offset, "keyword": "", "location": "", "text": "what a tie", "target": target})
    rows.append({"id": 990, "keyword": "", "location": "", "text": "http://t.co/only @someone", "target": 0})
    write_csv(raw_dir / "train.csv", rows)
    report = make_dataset(raw_dir, tmp_path / "out")
    table = _table(tmp_path / "out").set_index("id")
    copies = [f"kaggle:{identity}" for identity in (900, 901, 902, 950, 951)]
    assert table.loc[copies, "target"].tolist() == [0, 1, 1, 1, 0]
    assert table.loc[copies, "agreed_target"].tolist() == [1, 1, 1, TIE, TIE]
    assert table.loc[copies, "first"].tolist() == [True, False, False, True, False]
    assert table.loc[copies, "group"].tolist() == ["kaggle:900"] * 3 + ["kaggle:950"] * 2
    assert "kaggle:990" not in table.index
    assert (report["ties"], report["contradictory_texts"]) == (1, 2)
    assert report["skipped"]["train.csv"] == {"nothing but links and mentions": 1}
    learnt = to_learn_from(table.reset_index())
    assert learnt.loc[learnt["id"].isin(copies), ["id", "target"]].to_numpy().tolist() == [["kaggle:900", 1]]


def test_make_dataset_of_skipped_rows_says_so_loudly(
    raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(_arguments(raw_dir, tmp_path))
    assert "left out of 2013_Test_quake.csv" in capsys.readouterr().err


def test_make_dataset_twice_writes_the_same_bytes(raw_dir: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        make_dataset(raw_dir, tmp_path / name)
    for file in ("tweets.parquet", "data.lock.json", "report.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_make_dataset_of_a_changed_file_stops_with_both_hashes(
    raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _arguments(raw_dir, tmp_path)
    assert main(arguments) == 0
    path = raw_dir / "train.csv"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes().replace(b"homework", b"exercise"))
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert before in message
    assert after in message
    assert main([*arguments, "--accept-changed"]) == 0


def test_make_dataset_of_a_file_that_the_given_lock_does_not_know_stops_with_both_hashes(
    raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(raw_dir, tmp_path / "elsewhere")
    lock = tmp_path / "data.lock.json"
    shutil.copyfile(tmp_path / "elsewhere" / "data.lock.json", lock)
    path = raw_dir / "crisislex" / "t6" / "2013_Test_Floods.csv"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes().replace(b"pancakes", b"waffles"))
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    assert main(_arguments(raw_dir, tmp_path)) == 1
    assert f"has sha256 {after}; {lock} expects {before}, and its rows are others too" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_make_dataset_of_the_same_rows_with_other_line_ends_and_quotes_is_no_change(
    raw_dir: Path, tmp_path: Path
) -> None:
    arguments = _arguments(raw_dir, tmp_path)
    assert main(arguments) == 0
    path = raw_dir / "train.csv"
    other = path.read_bytes().replace(b"\r\n", b"\n").replace(b"id,", b'"id",', 1)
    assert other != path.read_bytes()
    path.write_bytes(other)
    assert main(arguments) == 0


def test_make_dataset_with_download_checks_files_by_the_lock(
    raw_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []

    def download(folder: Path, hashes: dict[str, str]) -> None:
        given.append(hashes)
        shutil.copytree(raw_dir, folder, dirs_exist_ok=True)

    monkeypatch.setattr("training.make_dataset.download", download)
    arguments = ["--download", "--raw", str(tmp_path / "fetched"), *_arguments(raw_dir, tmp_path)[2:]]
    assert main(arguments) == 0
    shutil.copyfile(tmp_path / "out" / "data.lock.json", tmp_path / "data.lock.json")
    assert main(arguments) == 0
    assert main([*arguments, "--accept-changed"]) == 0
    digest = hashlib.sha256((raw_dir / "train.csv").read_bytes()).hexdigest()
    assert [hashes.get("train.csv") for hashes in given] == [None, digest, None]


def test_check_prepared_of_a_broken_table_names_file_row_and_column(data_dir: Path) -> None:
    table = _table(data_dir)
    table.loc[[3, 9], "target"] = 5
    with pytest.raises(
        DatasetError,
        match=r"tweets\.parquet row 3, column target: '5' is no target; .*; row 9, column target: .*; prepare",
    ):
        check_prepared(table, "tweets.parquet")


def test_make_dataset_of_a_bad_file_writes_nothing_and_exits_with_1(
    raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw_dir / "train.csv").write_bytes(b"")
    assert main(_arguments(raw_dir, tmp_path)) == 1
    assert "data refused: train.csv is empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_make_dataset_of_no_folder_says_what_was_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(tmp_path / "nowhere", tmp_path)) == 1
    assert "is no folder; expected one with train.csv" in capsys.readouterr().err


def test_make_dataset_leaves_the_raw_files_alone(raw_dir: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in raw_dir.rglob("*.csv")}
    make_dataset(raw_dir, tmp_path / "out")
    assert {path: path.read_bytes() for path in raw_dir.rglob("*") if path.is_file()} == before


def test_committed_lock_holds_the_files_that_the_default_model_was_trained_from() -> None:
    lock = json.loads((ROOT / "data.lock.json").read_text())["files"]
    trained = json.loads((ROOT / "model" / "training.json").read_text())["data"]
    assert {name: entry["sha256"] for name, entry in lock.items()} == {
        name: entry["sha256"] for name, entry in trained.items()
    }
    assert set(CRISISLEX_FILES) | {"train.csv", "train_agreement.csv"} == set(lock)


@pytest.mark.real_data
def test_committed_lock_is_of_the_real_files(real_data: Path) -> None:
    lock = json.loads((ROOT / "data.lock.json").read_text())["files"]
    entries = lock_entries(real_data, read_folder(real_data))
    assert {name: lock[name] for name in entries} == entries
