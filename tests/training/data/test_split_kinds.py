"""No near-duplicate crosses a split of any kind, and what is held out is held out."""

from __future__ import annotations

import pandas as pd
import pytest

from training.data.labels import KAGGLE, T6, T26
from training.data.split_kinds import HELD_OUT, collection_split, event_names, event_split, keyword_split
from training.data.splits import CALIBRATION, DEV, TRAIN, SplitSettings, part_of, split
from training.errors import DatasetError

SETTINGS = SplitSettings(seed=3, dev_share=0.3, calibration_share=0.2)
WORDS = [f"word{number}" for number in range(30)]


def _rows(groups: list[str], keywords: list[str] | str = "", source: str = KAGGLE, event: str = "") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"{source}:{event}:{number}" for number in range(len(groups))],
            "source": source,
            "event": event,
            "keyword": keywords,
            "normalised": [f"text of {group}" for group in groups],
            "group": groups,
            "target": 1,
        }
    )


@pytest.fixture
def table() -> pd.DataFrame:
    """Each keyword has ten rows; group `shared` lies in two keywords, in T6 and in T26."""
    words = [word for word in WORDS for _ in range(10)]
    kaggle = _rows([f"{word}-{number}" for number, word in enumerate(words)], words)
    kaggle.loc[[3, 255], ["group", "normalised"]] = ("shared", "text of shared")
    parts = [
        kaggle,
        _rows([f"none-{number}" for number in range(40)]).assign(id=lambda rows: "none" + rows["id"]),
        _rows(["shared", *(f"flood-{number}" for number in range(40))], source=T6, event="2013_Marlow_Floods"),
        _rows(["flood-1", *(f"storm-{number}" for number in range(40))], source=T6, event="2012_Tolm_Storm"),
        _rows(["shared", *(f"t26-{number}" for number in range(40))], source=T26, event="2013_Marlow_floods"),
    ]
    return pd.concat(parts, ignore_index=True)


def _owners(parts: dict[str, pd.DataFrame], column: str) -> dict[str, set[str]]:
    owners: dict[str, set[str]] = {}
    for part, rows in parts.items():
        for value in rows[column].unique():
            owners.setdefault(value, set()).add(part)
    return owners


def test_keyword_split_keeps_a_keyword_and_its_near_duplicates_in_one_part(table: pd.DataFrame) -> None:
    parts = keyword_split(table, SETTINGS)
    assert set(parts) == {TRAIN, CALIBRATION, DEV}
    assert sum(map(len, parts.values())) == len(table)
    for column in ("keyword", "group"):
        crossing = {value for value, owners in _owners(parts, column).items() if len(owners) > 1}
        assert crossing <= {""}
    owner_of_word = _owners(parts, "keyword")
    assert owner_of_word["word0"] == owner_of_word["word25"] == _owners(parts, "group")["shared"]
    with_keyword = {part: int((rows["keyword"] != "").sum()) for part, rows in parts.items()}
    assert with_keyword[DEV] == pytest.approx(0.3 * 300, abs=10)
    assert with_keyword[CALIBRATION] == pytest.approx(0.2 * 300, abs=20)


def test_keyword_split_differs_from_the_random_one_which_parts_keywords(table: pd.DataFrame) -> None:
    random = _owners(split(table, SETTINGS), "keyword")
    assert sum(len(random[word]) > 1 for word in WORDS) > len(WORDS) / 2


def test_keyword_split_leaves_rows_without_keyword_where_the_random_split_has_them(table: pd.DataFrame) -> None:
    parts = keyword_split(table, SETTINGS)
    for part, rows in parts.items():
        bare = rows[(rows["keyword"] == "") & (rows["group"] != "shared")]
        assert {part_of(group, SETTINGS) for group in bare["group"]} <= {part}


def test_keyword_split_without_keywords_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(DatasetError, match="has a Kaggle keyword; expected column keyword"):
        keyword_split(table[table["keyword"] == ""], SETTINGS)


def test_event_split_holds_out_the_crisis_of_both_collections_and_what_resembles_it(table: pd.DataFrame) -> None:
    parts = event_split(table, "2013_Marlow_Floods", SETTINGS)
    assert set(parts) == {TRAIN, CALIBRATION, DEV, HELD_OUT}
    assert parts[HELD_OUT].groupby("source").size().to_dict() == {T6: 41, T26: 41}
    rest = pd.concat([parts[TRAIN], parts[CALIBRATION], parts[DEV]])
    assert set(rest["event"]) == {"", "2012_Tolm_Storm"}
    assert not set(rest["group"]) & {"shared", "flood-1"}
    assert len(rest) == len(table) - 82 - 3  # two Kaggle rows and one of the storm are near-duplicates of its rows
    assert set(parts[DEV]["group"]) <= set(split(table, SETTINGS)[DEV]["group"])


@pytest.mark.parametrize("event", ["", "2013_Nowhere"])
def test_event_split_of_an_unknown_event_names_the_known_ones(table: pd.DataFrame, event: str) -> None:
    with pytest.raises(DatasetError, match=r"expected one of \['2012_Tolm_Storm', '2013_Marlow_Floods'\]"):
        event_split(table, event, SETTINGS)


def test_collection_split_trains_on_one_collection_and_holds_out_the_other(table: pd.DataFrame) -> None:
    parts = collection_split(table, KAGGLE, T6, SETTINGS)
    assert set(parts[HELD_OUT]["source"]) == {T6}
    assert len(parts[HELD_OUT]) == 82
    rest = pd.concat([parts[TRAIN], parts[CALIBRATION], parts[DEV]])
    assert set(rest["source"]) == {KAGGLE}
    assert "shared" not in set(rest["group"])


@pytest.mark.parametrize(("train", "test"), [(KAGGLE, KAGGLE), (KAGGLE, "elsewhere"), ("elsewhere", T6)])
def test_collection_split_of_one_or_an_unknown_name_is_refused(table: pd.DataFrame, train: str, test: str) -> None:
    with pytest.raises(DatasetError, match="expected two different ones of"):
        collection_split(table, train, test, SETTINGS)


def test_collection_split_of_a_collection_that_only_repeats_the_other_is_refused(table: pd.DataFrame) -> None:
    copy = table[table["source"] == T26].assign(source="copy")
    with pytest.raises(DatasetError, match="nothing is left"):
        collection_split(pd.concat([table, copy], ignore_index=True), "copy", T26, SETTINGS)


def test_event_split_of_a_small_table_is_refused(table: pd.DataFrame) -> None:
    few = table[table["event"].isin(["2013_Marlow_floods", "2012_Tolm_Storm"])].groupby("event").head(2)
    with pytest.raises(DatasetError, match="falls into"):
        event_split(few, "2013_Marlow_floods", SETTINGS)


@pytest.mark.real_data
def test_every_split_of_the_real_tweets_keeps_near_duplicates_together(real_table: pd.DataFrame) -> None:
    settings, sources = SplitSettings(), (KAGGLE, T6, T26)
    divisions = {"random": split(real_table, settings), "keyword": keyword_split(real_table, settings)}
    divisions |= {event: event_split(real_table, event, settings) for event in event_names(real_table)}
    pairs = [(train, test) for train in sources for test in sources if train != test]
    divisions |= {f"{train}, {test}": collection_split(real_table, train, test, settings) for train, test in pairs}
    assert len(divisions) == 2 + real_table["event"].str.lower().nunique() - 1 + 6
    for name, parts in divisions.items():
        # Counted here anew, not by assert_no_leak, which the functions call themselves.
        rows = pd.concat([rows[["group", "normalised"]].assign(part=part) for part, rows in parts.items()])
        for column in ("group", "normalised"):
            assert rows.drop_duplicates([column, "part"])[column].is_unique, name
    keywords = _owners(divisions["keyword"], "keyword")
    assert [word for word, owners in keywords.items() if len(owners) > 1] == [""]
    kaggle = [rows["source"].eq(KAGGLE).sum() for rows in divisions["keyword"].values()]
    assert divisions["keyword"][DEV]["source"].eq(KAGGLE).sum() / sum(kaggle) == pytest.approx(0.2, abs=0.01)
