"""The data card's numbers are the table's, and no tweet gets into report, card or plots."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.training.conftest import kaggle_rows, write_csv
from training.reports.data_card import card_text, main, write_card
from training.errors import DatasetError
from training.make_dataset import make_dataset
from training.reports.model_card import CardError, fill_template


@pytest.fixture
def write(raw_dir: Path, tmp_path: Path, tiny_base: Path) -> Callable[[], dict]:
    """Return a function that prepares `raw_dir` and writes its card to `card.md`, the report to `report/`."""

    def written() -> dict:
        make_dataset(raw_dir, tmp_path / "out", accept_changed=True)
        return write_card(tmp_path / "out", tiny_base / "tokenizer.json", tmp_path / "report", tmp_path / "card.md")

    return written


def test_write_card_counts_what_the_table_holds(raw_dir: Path, tmp_path: Path, write: Callable[[], dict]) -> None:
    rows = [{**row, "keyword": f"word{row['id'] % 20}"} for row in kaggle_rows()]
    for offset, (text, target) in enumerate(
        (("RT @someone: dam breaks #tolm http://t.co/a", 1), ("RT @other: dam breaks #tolm http://t.co/b", 0))
    ):
        rows.append({"id": 900 + offset, "keyword": "dam", "location": "", "text": text, "target": target})
    write_csv(raw_dir / "train.csv", rows)
    report = write()
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == report
    kaggle = report["collections"]["kaggle"]
    assert (kaggle["rows"], kaggle["distinct_texts"], kaggle["positive"], kaggle["keywords"]) == (128, 127, 64, 21)
    assert kaggle["retweet_share"] == kaggle["with_link_share"] == kaggle["with_hashtag_share"] == round(2 / 128, 4)
    assert report["contradictions"]["kaggle"]["rows"] == 2
    assert report["contradictions"]["kaggle"]["ties"] == 1
    assert report["collections"]["crisislex_t26"]["skipped"] == {
        "label 'Not applicable' does not answer the question": 1
    }
    assert [(event["event"], event["rows"], event["positive"]) for event in report["events"]] == [
        ("2013_Test_quake", 3, 2),
        ("2013_Test_Floods", 18, 9),
    ]
    agreement = report["agreement"]
    assert (agreement["rows"], agreement["mean"], agreement["unanimous_share"]) == (126, 0.9, 0.0)
    assert (agreement["below_0.7_share"], agreement["not_the_majority"]) == (0.0, 0)
    assert sum(agreement["histogram"]) == 126
    assert sum(report["groups"]["sizes"].values()) == report["groups"]["number"]
    for source, lengths in report["tokens"]["collections"].items():
        assert sum(lengths["histogram"]) == report["collections"][source]["rows"]
    for parts in report["parts"].values():
        assert sum(parts.values()) == 128


def test_write_card_shows_no_tweet_and_every_picture(tmp_path: Path, write: Callable[[], dict]) -> None:
    write()
    card = (tmp_path / "card.md").read_text()
    shown = card + (tmp_path / "report" / "report.json").read_text()
    texts = pd.read_parquet(tmp_path / "out" / "tweets.parquet", columns=["text", "normalised"])
    assert not [text for column in texts for text in texts[column] if text in shown]
    assert "{{" not in card
    for path in (tmp_path / "report").glob("*.png"):
        assert f"(report/{path.name})" in card
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(list((tmp_path / "report").glob("*.png"))) == 6


def test_write_card_twice_writes_the_same_bytes(tmp_path: Path, write: Callable[[], dict]) -> None:
    before = []
    for _ in range(2):
        write()
        paths = [tmp_path / "card.md", *sorted((tmp_path / "report").iterdir())]
        before.append({path.name: path.read_bytes() for path in paths})
    assert before[0] == before[1]


def test_write_card_without_crowd_agreement_says_so(raw_dir: Path, tmp_path: Path, write: Callable[[], dict]) -> None:
    (raw_dir / "train_agreement.csv").unlink()
    assert write()["agreement"] == {"rows": 0}
    assert "Agreement is not in this table." in (tmp_path / "card.md").read_text()
    assert not (tmp_path / "report" / "agreement.png").exists()


def test_write_card_of_kaggle_alone_has_no_other_collection(raw_dir: Path, write: Callable[[], dict]) -> None:
    shutil.rmtree(raw_dir / "crisislex")
    report = write()
    assert list(report["collections"]) == ["kaggle"]
    assert report["events"] == []


def test_write_card_without_a_report_says_what_to_run(data_dir: Path, tmp_path: Path, tiny_base: Path) -> None:
    (data_dir / "report.json").unlink()
    with pytest.raises(DatasetError, match=r"report\.json is missing or no JSON; .*make_dataset"):
        write_card(data_dir, tiny_base / "tokenizer.json", tmp_path / "report", tmp_path / "card.md")


def test_main_without_a_table_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "report"), "--card", str(tmp_path / "card.md")]
    assert main(options) == 1
    assert "no data card: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_fill_template_of_an_unknown_place_or_table_names_what_is_there() -> None:
    with pytest.raises(CardError, match=r"there is no 'rowz'; expected one of \['rows'\]"):
        fill_template("{{data/rowz}}", {"data": {"rows": 3}}, {})
    with pytest.raises(CardError, match=r"'events' is not there; expected one of \['labels'\]"):
        fill_template("{{table events}}", {}, {"labels": str})


def test_committed_card_is_made_from_the_committed_report_and_lock() -> None:
    folder = ROOT / "docs" / "data"
    report = json.loads((folder / "report.json").read_text())
    assert report["files"] == json.loads((ROOT / "data.lock.json").read_text())["files"]
    plots = [name for name in _plot_names((ROOT / "docs" / "data_card.md").read_text()) if (folder / name).is_file()]
    assert card_text(report, plots, Path("data")) == (ROOT / "docs" / "data_card.md").read_text()


def _plot_names(card: str) -> list[str]:
    return [line.rpartition("/")[2].rstrip(")") for line in card.splitlines() if line.startswith("![")]
