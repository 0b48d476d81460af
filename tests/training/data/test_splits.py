"""No near-duplicate crosses a split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.training.conftest import kaggle_rows, write_csv
from training.data.datamodule import read_table
from training.data.splits import EventShare, SplitSettings, assert_no_leak, part_of, split, training_mixture
from training.errors import DatasetError
from training.make_dataset import make_dataset

SETTINGS = SplitSettings(seed=3, dev_share=0.3, calibration_share=0.2)


def _table(groups: list[str], source: str = "kaggle", event: str = "") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"{source}:{number}" for number in range(len(groups))],
            "source": source,
            "event": event,
            "normalised": [f"text {number} {source}" for number in range(len(groups))],
            "group": groups,
            "target": 1,
            "agreed_target": 1,
            "first": True,
        }
    )


def test_split_of_prepared_near_duplicates_never_parts_them(raw_dir: Path, tmp_path: Path) -> None:
    rows = kaggle_rows()
    # Each tweet again with another ending, and as CrisisLex tweets: the same group in both collections.
    twins = [{**row, "id": 5000 + row["id"], "text": f"RT @someone: {row['text']} !!"} for row in rows]
    write_csv(raw_dir / "train.csv", rows + twins)
    t6 = "\n".join(f"'{9000 + row['id']}',\"{row['text']} omg\",on-topic" for row in rows)
    (raw_dir / "crisislex" / "t6" / "2013_Test_Floods.csv").write_text(f"tweet id, tweet, label\n{t6}\n")
    make_dataset(raw_dir, tmp_path / "out")
    parts = split(read_table(tmp_path / "out"), SETTINGS)
    assert_no_leak(**parts)
    owner = {identity: part for part, table in parts.items() for identity in table["id"]}
    together = [
        len({owner[f"kaggle:{row['id']}"], owner[f"kaggle:{5000 + row['id']}"]}) == 1
        for row in rows
        if f"kaggle:{5000 + row['id']}" in owner
    ]
    assert len(together) == len(rows)
    assert all(together)
    crossing = [
        owner[identity] == owner["kaggle:" + str(int(identity.rpartition(":")[2]) - 9000)]
        for identity in owner
        if identity.startswith("crisislex_t6")
    ]
    assert len(crossing) > 100
    assert all(crossing)


def test_assert_no_leak_of_a_shared_group_names_both_parts() -> None:
    left, right = _table(["a", "b"]), _table(["b", "c"], source="other")
    with pytest.raises(DatasetError, match="dev and train share a group"):
        assert_no_leak(train=left, dev=right)


def test_part_of_a_group_does_not_depend_on_other_groups() -> None:
    few, many = _table(list("abcdefgh")), _table([*"abcdefgh", *(str(number) for number in range(500))])
    before = {group: part for part, rows in split(few, SETTINGS).items() for group in rows["group"]}
    after = {group: part for part, rows in split(many, SETTINGS).items() for group in rows["group"]}
    assert before.items() <= after.items()


def test_split_of_many_groups_has_about_the_asked_shares() -> None:
    parts = split(_table([str(number) for number in range(20_000)]), SETTINGS)
    assert len(parts["dev"]) / 20_000 == pytest.approx(0.3, abs=0.01)
    assert len(parts["calibration"]) / 20_000 == pytest.approx(0.2, abs=0.01)
    assert sum(map(len, parts.values())) == 20_000


def test_part_of_another_seed_is_another_division() -> None:
    groups = [str(number) for number in range(200)]
    other = SplitSettings(seed=4, dev_share=0.3, calibration_share=0.2)
    assert [part_of(group, SETTINGS) for group in groups] != [part_of(group, other) for group in groups]


def test_split_of_one_group_is_refused() -> None:
    with pytest.raises(DatasetError, match="the table is too small"):
        split(_table(["a"] * 10), SETTINGS)


@pytest.mark.parametrize(("dev", "calibration"), [(0.0, 0.1), (0.1, 0.0), (0.6, 0.4), (-0.1, 0.2)])
def test_split_settings_of_impossible_shares_are_refused(dev: float, calibration: float) -> None:
    with pytest.raises(DatasetError, match="expected two positive shares"):
        SplitSettings(0, dev, calibration)


def test_training_mixture_draws_the_same_number_from_each_named_event() -> None:
    train = pd.concat(
        [
            _table([f"k{number}" for number in range(30)]),
            _table([f"f{number}" for number in range(40)], "crisislex_t6", "flood"),
            _table([f"s{number}" for number in range(50)], "crisislex_t6", "storm"),
            _table([f"h{number}" for number in range(50)], "crisislex_t6", "held_out"),
            _table([f"q{number}" for number in range(50)], "crisislex_t26", "quake"),
        ],
        ignore_index=True,
    )
    shares = [EventShare("crisislex_t6", "flood", 20), EventShare("crisislex_t6", "storm", 20)]
    chosen = training_mixture(train, shares, seed=1)
    assert chosen.groupby(["source", "event"]).size().to_dict() == {
        ("crisislex_t6", "flood"): 20,
        ("crisislex_t6", "storm"): 20,
        ("kaggle", ""): 30,
    }
    pd.testing.assert_frame_equal(chosen, training_mixture(train, shares, seed=1))
    assert not chosen.equals(training_mixture(train, shares, seed=2))
    assert set(training_mixture(train, [], seed=1)["source"]) == {"kaggle"}


def test_training_mixture_draws_english_texts_of_t26_only_and_up_to_what_there_is() -> None:
    rows = _table([f"q{number}" for number in range(4)], "crisislex_t26", "quake")
    rows["normalised"] = [
        "the walls of the school have fallen and we are all out",
        "se ha caido la pared de la escuela y no hay luz en el barrio",
        "there is no power in our street after the quake",
        "los vecinos de la zona estan en la calle por el temblor",
    ]
    train = pd.concat([_table(["k0"]), rows], ignore_index=True)
    chosen = training_mixture(train, [EventShare("crisislex_t26", "quake", 300, up_to=True)], seed=0)
    assert sorted(chosen["normalised"]) == sorted([train["normalised"][0], *rows["normalised"][::2]])


@pytest.mark.parametrize("up_to", [False, True])
def test_training_mixture_of_a_missing_event_says_what_to_do(up_to: bool) -> None:
    with pytest.raises(DatasetError, match="event nowhere has 0 texts to train on; expected 5"):
        training_mixture(_table(["a"]), [EventShare("crisislex_t6", "nowhere", 5, up_to)], seed=0)
