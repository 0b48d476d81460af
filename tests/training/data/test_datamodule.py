"""The data module divides, encodes and serves what the settings ask for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.training.conftest import kaggle_rows, write_csv
from training.data.datamodule import DEV_DISTINCT, DEV_T6, DataSettings, TweetDataModule, read_table
from training.data.splits import CALIBRATION, DEV, TRAIN, assert_no_leak
from training.errors import DatasetError
from training.make_dataset import make_dataset

SETTINGS = DataSettings(batch_size=8, max_tokens=16, t6_events=("2013_Test_Floods",), t6_per_event=4)


def _module(data_dir: Path, tiny_base: Path, settings: DataSettings = SETTINGS) -> TweetDataModule:
    module = TweetDataModule(data_dir, tiny_base / "tokenizer.json", settings)
    module.setup()
    return module


def test_setup_keeps_the_parts_apart_and_the_figures_to_kaggle(data_dir: Path, tiny_base: Path) -> None:
    parts = _module(data_dir, tiny_base).parts
    assert_no_leak(train=parts[TRAIN], calibration=parts[CALIBRATION], dev=parts[DEV])
    assert_no_leak(train=parts[TRAIN], t6=parts[DEV_T6])
    assert parts[TRAIN]["source"].value_counts()["crisislex_t6"] == 4
    assert set(parts[DEV]["source"]) == set(parts[CALIBRATION]["source"]) == {"kaggle"}
    assert set(parts[DEV_T6]["source"]) <= {"crisislex_t6"}


def test_setup_measures_on_every_row_and_learns_from_distinct_texts(
    raw_dir: Path, tmp_path: Path, tiny_base: Path
) -> None:
    rows = kaggle_rows()
    copies = [{**row, "id": 5000 + row["id"], "text": f"{row['text']} http://t.co/x"} for row in rows]
    originals = [{**row, "text": f"{row['text']} http://t.co/y"} for row in rows]
    write_csv(raw_dir / "train.csv", originals + copies)
    make_dataset(raw_dir, tmp_path / "doubled")
    parts = _module(tmp_path / "doubled", tiny_base).parts
    assert len(parts[DEV]) == 2 * len(parts[DEV_DISTINCT]) > 0
    assert parts[TRAIN]["normalised"].is_unique
    assert not set(parts[TRAIN]["normalised"]) & set(parts[DEV]["normalised"])


def test_train_dataloader_gives_every_training_row_once_cut_to_length(data_dir: Path, tiny_base: Path) -> None:
    module = _module(data_dir, tiny_base)
    batches = list(module.train_dataloader())
    assert sum(len(batch["targets"]) for batch in batches) == len(module.parts[TRAIN])
    assert sum(int(batch["targets"].sum()) for batch in batches) == module.parts[TRAIN]["target"].sum()
    assert max(batch["input_ids"].shape[1] for batch in batches) <= 16
    assert max(len(batch["targets"]) for batch in batches) == 8


def test_part_batches_are_in_an_order_that_tells_the_rows(data_dir: Path, tiny_base: Path) -> None:
    module = _module(data_dir, tiny_base)
    batches = module.part_batches(DEV)
    rows = [row for batch in batches.order(0) for row in batch]
    found = [int(target) for batch in batches for target in batch["targets"]]
    assert found == module.parts[DEV]["target"].iloc[rows].tolist()


def test_setup_with_a_limit_trains_on_so_many_rows(data_dir: Path, tiny_base: Path) -> None:
    limited = DataSettings(batch_size=8, limit_rows=20)
    assert len(_module(data_dir, tiny_base, limited).parts[TRAIN]) == 20


def test_setup_reads_kaggle_rows_as_often_as_asked(data_dir: Path, tiny_base: Path) -> None:
    once, thrice = (
        _module(data_dir, tiny_base, dataclasses.replace(SETTINGS, kaggle_repeats=repeats)).parts[TRAIN]["source"]
        for repeats in (1, 3)
    )
    assert thrice.value_counts()["kaggle"] == 3 * once.value_counts()["kaggle"]
    assert thrice.value_counts()["crisislex_t6"] == once.value_counts()["crisislex_t6"]


def test_learn_from_softens_kaggle_rows_by_crowd_and_teacher(data_dir: Path, tiny_base: Path) -> None:
    module = _module(data_dir, tiny_base, dataclasses.replace(SETTINGS, agreement_weight=1.0, teacher_weight=0.5))
    train = module.parts[TRAIN]
    share = float((train["source"] == "kaggle").mean())
    assert module.softened_share == pytest.approx(share)
    found = torch.cat([batch["soft_targets"] for batch in module.train_dataloader()])
    assert {round(value, 4) for value in found[~found.isnan()].tolist()} == {0.1, 0.9}
    module.learn_from(dict.fromkeys(train["id"], 0.5))
    found = torch.cat([batch["soft_targets"] for batch in module.train_dataloader()])
    assert {round(value, 4) for value in found.tolist()} == {0.3, 0.7, 0.25, 0.75}  # T6 has labels alone


def test_setup_without_agreement_says_that_bare_labels_are_learnt(
    raw_dir: Path, tmp_path: Path, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (raw_dir / "train_agreement.csv").unlink()
    make_dataset(raw_dir, tmp_path / "bare")
    with caplog.at_level("WARNING"):
        module = _module(tmp_path / "bare", tiny_base, dataclasses.replace(SETTINGS, agreement_weight=1.0))
    assert "bare labels are learnt" in caplog.text
    assert module.softened_share == 0.0


def test_data_facts_are_the_lock(data_dir: Path, tiny_base: Path) -> None:
    assert _module(data_dir, tiny_base).data_facts()["train.csv"]["rows"] == 126


def test_read_table_without_one_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"tweets\.parquet is missing.*make_dataset --from"):
        read_table(tmp_path)


def test_read_table_of_a_cut_off_file_is_refused(data_dir: Path) -> None:
    path = data_dir / "tweets.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match="is no Parquet file"):
        read_table(data_dir)


def test_read_table_with_other_columns_is_refused(data_dir: Path) -> None:
    path = data_dir / "tweets.parquet"
    pd.read_parquet(path).drop(columns="group").to_parquet(path)
    with pytest.raises(DatasetError, match="prepare the data again"):
        read_table(data_dir)


def test_read_table_with_values_that_the_schema_refuses_names_columns_and_rows(data_dir: Path) -> None:
    path = data_dir / "tweets.parquet"
    assert len(read_table(data_dir))  # right as written: what follows is judged anew
    table = pd.read_parquet(path)
    table.loc[3, "target"] = 7
    table.loc[9, "source"] = "elsewhere"
    table.to_parquet(path)
    with pytest.raises(DatasetError, match=r"row 3, column target: '7' is no target; .*row 9, column source: 'elsew"):
        read_table(data_dir)
    with pytest.raises(DatasetError, match=r"tweets\.parquet row 3"):  # refused again, not remembered as right
        read_table(data_dir)


def test_read_table_of_a_table_that_was_filtered_by_hand_counts_its_rows_from_0(data_dir: Path) -> None:
    path = data_dir / "tweets.parquet"
    table = pd.read_parquet(path)
    table["agreed_target"] = table["agreed_target"].astype("int64")
    table.set_index(table["id"] + "-copy").to_parquet(path)
    with pytest.raises(DatasetError, match="column agreed_target: has type int64; expected dtype"):
        read_table(data_dir)
