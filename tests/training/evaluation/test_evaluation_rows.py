from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.conftest import PLACES, kaggle_rows, write_csv, write_t6
from training.data.datamodule import DEV_T6, DataSettings, TweetDataModule, read_table
from training.data.labels import KAGGLE
from training.data.splits import CALIBRATION, TRAIN
from training.errors import DatasetError
from training.evaluation.evaluation_rows import (
    SPLITS,
    T6_DEV,
    T26_ENGLISH,
    T26_UNSEEN,
    EvaluationRows,
    check_same_data,
    data_settings,
    evaluation_rows,
    prepared_folder,
)
from training.learning.recipe_settings import compose
from training.make_dataset import make_dataset
from training.model.base_encoder import TOKENIZER_FILE

T26_COLUMNS = ["Tweet ID", " Tweet Text", " Information Source", " Information Type", " Informativeness"]
SETTINGS = DataSettings(t6_events=("2013_Test_Floods",), t6_per_event=10, split_seed=0)


def t26_file(path: Path, texts: list[str], first_id: int) -> None:
    labels = ["Related and informative", "Not related"]
    rows = [dict(zip(T26_COLUMNS, (first_id + index, text, "Media", "Other", labels[index % 2]), strict=True))
            for index, text in enumerate(texts)]  # fmt: skip
    write_csv(path, rows, T26_COLUMNS)


@pytest.fixture
def table_dir(raw_dir: Path, tmp_path: Path) -> Path:
    """Prepared table whose T26 files repeat tweets of the other collections and share an event with T6."""
    folder = raw_dir / "crisislex" / "t26"
    copies = [row["text"] + " !" for row in kaggle_rows()]
    t26_file(folder / "2013_Copies.csv", copies, 7000)
    t26_file(folder / "2013_Test_floods.csv", [f"walls and the {place} road under mud" for place in PLACES], 8000)
    t26_file(folder / "2013_Otro_sitio.csv", [f"las calles de {place} con mucha agua" for place in PLACES], 9000)
    places = [f"{place} {street} road" for place in PLACES for street in ("upper", "lower", "old", "long")]
    kinds = (("river rises over street", "on-topic"), ("nothing but pancakes", "off-topic"))
    write_t6(
        raw_dir / "crisislex" / "t6" / "2013_Test_Floods.csv",
        [(f"{at}{kind}", f"{word} by {place} {at * 37}", label)
         for at, place in enumerate(places) for kind, (word, label) in enumerate(kinds)],
    )  # fmt: skip
    make_dataset(raw_dir, tmp_path / "with-copies")
    return tmp_path / "with-copies"


def evaluated(table_dir: Path, tiny_base: Path, names: list[str] | None = None, limit: int = 0) -> EvaluationRows:
    return evaluation_rows(table_dir, tiny_base / TOKENIZER_FILE, SETTINGS, 0, names or list(SPLITS), limit)


def test_evaluation_rows_hold_no_row_or_group_of_training_or_calibration(table_dir: Path, tiny_base: Path) -> None:
    found = evaluated(table_dir, tiny_base)
    module = TweetDataModule(table_dir, tiny_base / TOKENIZER_FILE, SETTINGS, 0)
    module.setup()
    table = read_table(table_dir).set_index("id")
    every = found.all_rows()
    assert found.train["id"].tolist() == module.parts[TRAIN]["id"].tolist()
    assert len(every) > 40
    for part in (TRAIN, CALIBRATION):
        assert not set(every["group"]) & set(table.loc[module.parts[part]["id"], "group"])
    assert found.splits[T6_DEV]["id"].tolist() == module.parts[DEV_T6]["id"].tolist()


def test_evaluation_rows_leave_out_t26_copies_of_trained_tweets_and_count_them(
    table_dir: Path, tiny_base: Path
) -> None:
    found = evaluated(table_dir, tiny_base)
    trained = set(found.train["group"])
    t26 = read_table(table_dir).query("source == 'crisislex_t26'")
    assert found.left_out >= int(t26["group"].isin(trained).sum()) > 0


def test_evaluation_rows_keep_trained_events_out_of_the_unseen_ones(table_dir: Path, tiny_base: Path) -> None:
    found = evaluated(table_dir, tiny_base)
    assert found.trained_events == {"2013_Test_floods"}  # in T6 as 2013_Test_Floods
    assert "2013_Test_floods" in found.t26_events
    assert "2013_Test_floods" not in set(found.splits[T26_UNSEEN]["event"])
    assert "2013_Otro_sitio" in set(found.splits[T26_UNSEEN]["event"])
    assert "2013_Otro_sitio" not in set(found.splits[T26_ENGLISH]["event"])


def test_evaluation_rows_when_limited_draw_the_same_few_again(table_dir: Path, tiny_base: Path) -> None:
    first, again = (evaluated(table_dir, tiny_base, ["kaggle_random"], limit=5) for _ in range(2))
    assert list(first.splits) == ["kaggle_random"]
    assert not first.t26_events
    assert len(first.all_rows()) == 5
    assert first.all_rows()["id"].tolist() == again.all_rows()["id"].tolist()
    assert set(first.all_rows()["source"]) == {KAGGLE}


def test_evaluation_rows_when_a_collection_is_not_there_names_the_split(data_dir: Path, tiny_base: Path) -> None:
    with pytest.raises(DatasetError, match="split crisislex_t6 has no row"):
        evaluation_rows(data_dir, tiny_base / TOKENIZER_FILE, DataSettings(), 0, [T6_DEV])


def test_data_settings_when_the_recipe_is_missing_says_what_is_expected() -> None:
    with pytest.raises(DatasetError, match=r"expected recipe\.data and seeds"):
        data_settings({"recipe": {}})
    assert data_settings(None)[0].split == compose().data.split


def test_check_same_data_when_a_trained_file_has_changed_names_both_hashes(data_dir: Path) -> None:
    lock = json.loads((data_dir / "data.lock.json").read_text(encoding="utf-8"))["files"]
    check_same_data({"data": lock}, data_dir)
    check_same_data({"data": {"not-here.csv": {"sha256": "0"}}}, data_dir)
    check_same_data({"data": {"train.csv": {**lock["train.csv"], "sha256": "other line ends"}}}, data_dir)
    with pytest.raises(DatasetError, match=r"train\.csv has sha256 .*trained on 00ff"):
        check_same_data({"data": {"train.csv": {"sha256": "00ff", "rows": 1}}}, data_dir)


def test_prepared_folder_when_a_table_is_of_these_files_takes_it_else_prepares_anew(
    raw_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    assert prepared_folder(raw_dir, [tmp_path / "none", data_dir], work) == data_dir
    write_csv(raw_dir / "train.csv", kaggle_rows()[:100])
    (raw_dir / "train_agreement.csv").unlink()
    assert prepared_folder(raw_dir, [data_dir], work) == work
    assert len(read_table(work).query("source == 'kaggle'")) <= 100
    before = (work / "tweets.parquet").stat().st_mtime_ns
    assert prepared_folder(raw_dir, [data_dir], work) == work
    assert (work / "tweets.parquet").stat().st_mtime_ns == before


def test_prepared_folder_when_there_is_no_data_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--data, or set DISASTER_TWEETS_DATA"):
        prepared_folder(tmp_path, [], tmp_path / "work")
