"""Turned labels are found, listed without text, and left out of the training alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.data.datamodule import DataSettings, TweetDataModule, read_table
from training.data.exclusions import without_excluded
from training.data.splits import CALIBRATION, DEV, TRAIN, SplitSettings
from training.errors import DatasetError
from training.experiments import label_noise
from training.experiments.label_noise import cross_fitted, exclusions
from training.experiments.label_noise_comparison import compare_divisions, compare_list, learnt_rows
from training.learning.recipe_settings import compose

DIVISION = SplitSettings(0, 0.2, 0.2)


def _rows(count: int = 400, turned: int = 12) -> tuple[pd.DataFrame, set[str]]:
    """Return rows whose words give the label away, some with the other label, and the ids of those."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, count)
    words = np.where(targets == 1, "flood water rescue", "coffee music sunday")
    wrong = generator.choice(count, turned, replace=False)
    targets[wrong] = 1 - targets[wrong]
    rows = pd.DataFrame(
        {
            "id": [str(number) for number in range(count)],
            "normalised": [f"{text} {number % 7}" for number, text in enumerate(words)],
            "group": [f"g{number}" for number in range(count)],
            "target": targets,
        }
    )
    return rows, {str(number) for number in wrong}


def test_exclusions_of_turned_labels_finds_them_and_gives_reasons_without_text() -> None:
    rows, wrong = _rows()
    found = exclusions(rows, cross_fitted(rows))
    ids = {entry["id"] for entry in found}
    assert len(ids & wrong) >= 0.8 * len(wrong)
    assert len(ids - wrong) <= 3
    assert "out-of-fold p(disaster)" in found[0]["reason"]
    assert "coffee" not in json.dumps(found)


def test_cross_fitted_scores_every_row_by_models_of_other_groups() -> None:
    rows, _ = _rows(60)
    rows["group"] = [f"g{number // 2}" for number in range(60)]
    scores = cross_fitted(rows, folds=3)
    assert not np.isnan(scores).any()
    # A row's own label does not move its score: the models that score it have not read it.
    other = rows.assign(target=np.where(rows.index < 2, 1 - rows["target"], rows["target"]))
    assert cross_fitted(other, folds=3)[:2] == pytest.approx(scores[:2])


def test_datamodule_with_exclusions_leaves_them_out_of_the_training_part_alone(
    data_dir: Path, tiny_base: Path, tmp_path: Path
) -> None:
    settings = DataSettings(max_tokens=64, dev_share=0.2, calibration_share=0.2)
    everything = TweetDataModule(data_dir, tiny_base / "tokenizer.json", settings)
    everything.setup()
    ids = [str(everything.parts[part]["id"].iloc[0]) for part in (TRAIN, CALIBRATION, DEV)]
    path = tmp_path / "exclusions.json"
    path.write_text(json.dumps({"excluded": [{"id": name, "reason": "made up"} for name in ids]}))
    fewer = TweetDataModule(
        data_dir,
        tiny_base / "tokenizer.json",
        DataSettings(max_tokens=64, dev_share=0.2, calibration_share=0.2, exclusions=str(path)),
    )
    fewer.setup()
    assert set(everything.parts[TRAIN]["id"]) - set(fewer.parts[TRAIN]["id"]) == {ids[0]}
    for part in (CALIBRATION, DEV):
        assert fewer.parts[part]["id"].tolist() == everything.parts[part]["id"].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is no file of exclusions \(FileNotFoundError\)"),
        ("[]", r"is no file of exclusions \(TypeError\)"),
        ('{"excluded": [{"id": "no such row"}]}', "lists 1 rows, none of which is among the 400"),
    ],
)
def test_without_excluded_of_a_wrong_file_says_what_to_do(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "exclusions.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        without_excluded(_rows()[0], str(path))


def test_compare_divisions_tells_the_gain_with_an_interval(data_dir: Path) -> None:
    def find(rows: pd.DataFrame) -> list[str]:
        return [entry["id"] for entry in exclusions(rows, cross_fitted(rows))]

    found = compare_divisions(read_table(data_dir), DIVISION, find, divisions=2, resamples=20)
    assert [entry["split_seed"] for entry in found["divisions"]] == [0, 1]
    assert found["judged"] == [DEV]
    assert found["gain"]["f1"]["value"] == pytest.approx(found["cleaned"]["f1"] - found["all"]["f1"], abs=1e-4)
    assert found["gain"]["accuracy"]["low"] <= found["gain"]["accuracy"]["high"]


def test_compare_list_trains_without_the_listed_rows_and_judges_on_all_that_were_not_trained(data_dir: Path) -> None:
    table = read_table(data_dir)
    rows = learnt_rows(table, DIVISION)
    nothing = compare_list(table, DIVISION, [], resamples=20)
    assert nothing["gain"]["nll"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert nothing["judged_rows"] == (table["source"] == "kaggle").sum() - len(rows)
    # Half of one class left out: the scores must move, and only that half is counted.
    disasters = rows.loc[rows["target"] == 1, "id"].astype(str).tolist()
    found = compare_list(table, DIVISION, [*disasters[::2], "of another part"], resamples=20)
    assert found["divisions"][0]["excluded"] == len(disasters[::2])
    assert found["gain"]["nll"]["value"] != 0


def scores_with_one_turned(rows: pd.DataFrame) -> tuple[dict[str, float], str]:
    """Return out-of-fold scores that agree with every label but one, and that row's id."""
    scores = {str(name): 0.9 * target + 0.05 for name, target in zip(rows["id"], rows["target"], strict=True)}
    turned = str(rows["id"].iloc[0])
    scores[turned] = 1 - scores[turned]
    return scores, turned


def test_main_with_given_scores_writes_ids_and_where_the_scores_are_from(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = learnt_rows(read_table(data_dir), compose().data.split)
    scores, turned = scores_with_one_turned(rows)
    path = tmp_path / "oof.json"
    path.write_text(json.dumps(scores))
    output = tmp_path / "new" / "exclusions.json"
    options = ["--data-dir", str(data_dir), "--scores", str(path), "--output", str(output)]
    assert label_noise.main(options) == 0
    content = json.loads(output.read_text())
    assert [entry["id"] for entry in content["excluded"]] == [turned]
    assert content["scores"].startswith("oof.json, sha256 ")
    assert f"1 of {len(rows)} rows" in capsys.readouterr().out

    del scores[turned]
    path.write_text(json.dumps(scores))
    assert label_noise.main(options) == 1
    assert "lacks 1 of the" in capsys.readouterr().err


def test_main_with_the_folder_of_teachers_joins_its_folds_and_compares_the_list(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = learnt_rows(read_table(data_dir), compose().data.split)
    scores, turned = scores_with_one_turned(rows)
    folder = data_dir / "teachers" / "0123abcd"
    folder.mkdir(parents=True)
    for fold in range(2):
        part = dict(list(scores.items())[fold::2])
        (folder / f"fold-{fold}-seed-0.json").write_text(json.dumps(part))
    output = tmp_path / "exclusions.json"
    options = ["--data-dir", str(data_dir), "--compare", "--resamples", "20", "--output", str(output), "--scores"]
    assert label_noise.main([*options, str(folder)]) == 0
    content = json.loads(output.read_text())
    assert [entry["id"] for entry in content["excluded"]] == [turned]
    assert content["scores"].startswith("0123abcd, 2 folds, sha256 of their hashes ")
    assert [entry["excluded"] for entry in content["comparison"]["divisions"]] == [1]
    assert content["comparison"]["judged"] == [DEV, CALIBRATION]
    assert "nll: without the listed rows " in capsys.readouterr().out

    assert label_noise.main([*options, str(folder.parent)]) == 1
    assert "give one of its folders ['0123abcd']" in capsys.readouterr().err
