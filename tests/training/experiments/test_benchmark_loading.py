"""The loading benchmark compares ways of making the same batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.data.encoding import TweetEncoder
from training.experiments import benchmark_loading
from training.experiments.benchmark_loading import Measured, main, measure, table

TEXTS = [f"storm number {number} " + "over the river " * (number % 6) for number in range(60)]


@pytest.fixture
def encoder(tiny_base: Path) -> TweetEncoder:
    return TweetEncoder(tiny_base / "tokenizer.json", 32)


def test_measure_finds_less_padding_where_lengths_are_bucketed(encoder: TweetEncoder) -> None:
    found = measure(TEXTS, encoder, batch_size=8, epochs=2, turns=1, workers=[0])
    assert len(found) == 3
    assert found[0].padding_share < found[1].padding_share == pytest.approx(found[2].padding_share, abs=0.05)
    assert all(one.cpu_s > 0 and one.tweets_per_cpu_s > 0 for one in found)


def test_table_gives_ratios_to_the_first_way() -> None:
    lines = table([Measured("a", 2.0, 1000, 0.1), Measured("b", 3.0, 667, 0.25)]).splitlines()
    assert lines[2:] == ["| a | 2.000 | 1.00 | 1,000 | 10.0% |", "| b | 3.000 | 1.50 | 667 | 25.0% |"]


def test_main_prints_and_writes_every_way(
    data_dir: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark_loading, "resolve_base_encoder", lambda: tiny_base)
    options = ["--rows", "40", "--batch-size", "8", "--epochs", "1", "--turns", "1", "--workers", "0"]
    assert main(["--data", str(data_dir), "--json", str(tmp_path / "found.json"), *options]) == 0
    assert "40 tweets, 1 epochs" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "found.json").read_text())) == 3


def test_main_without_data_or_with_nonsense_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 1
    assert "tweets.parquet is missing" in capsys.readouterr().err
    for options in (["--rows", "0"], ["--workers", "-1"]):
        with pytest.raises(SystemExit):
            main(options)
