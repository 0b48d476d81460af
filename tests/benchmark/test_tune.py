"""What the tuner compares, chooses and writes; the measuring itself is tests/serving/test_benchmark.py's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark.servers.profiles import Changes, with_properties
from benchmark.tune import tune
from benchmark.tune.candidates import NAMES, Candidate, present, stage
from benchmark.tune.yaml_values import with_values
from tests.conftest import ROOT

CONFIG = "handler/model-config.yaml"


def found(name: str, rate: float, p99_ms: float) -> tune.Found:
    loaded = [{"tweets_per_s": rate}] * 3
    return tune.Found(Candidate(name, Changes({"batchSize": 7})), loaded, [{"p99_ms": p99_ms}] * 3)


def test_the_present_setting_stays_when_nothing_is_clearly_better() -> None:
    now = found("as it is", 1000, 10)
    assert tune.choose([now, found("noise", 1020, 10)]) is now
    assert tune.choose([now, found("slower", 900, 5)]) is now
    assert tune.choose([now, found("a slow tail", 1500, 13)]) is now


def test_the_fastest_is_taken_when_it_is_clearly_better() -> None:
    now, fast, faster = found("as it is", 1000, 10), found("fast", 1100, 10), found("faster", 1200, 12)
    assert tune.choose([now, fast, faster]) is faster


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_begins_with_the_present_setting_and_every_other_one_differs(name: str) -> None:
    now = present(ROOT)
    candidates = stage(name, now)
    assert candidates[0].changes == now.changes
    assert len(candidates) >= 2
    assert all(candidate.changes != now.changes for candidate in candidates[1:])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_stage_changes_can_be_written_into_the_files(name: str) -> None:
    text = (ROOT / CONFIG).read_text(encoding="utf-8")
    for candidate in stage(name, present(ROOT)):
        values = {**candidate.changes.model, **candidate.changes.handler}
        written = yaml.safe_load(with_values(text, values))
        assert {**written, **written["handler"]}.items() >= values.items()


def test_writing_present_values_changes_nothing() -> None:
    text = (ROOT / CONFIG).read_text(encoding="utf-8")
    changes = present(ROOT).changes
    assert with_values(text, {**changes.model, **changes.handler}) == text


def test_a_value_is_replaced_and_its_comment_stays_in_its_column() -> None:
    text = "a: 1       # why\nhandler:\n  b: x     # because\n  c:\n"
    assert with_values(text, {"a": 1024, "b": "yz"}) == "a: 1024    # why\nhandler:\n  b: yz    # because\n  c:\n"
    assert with_values(text, {"c": 5}).endswith("  c:5\n") or yaml.safe_load(with_values(text, {"a": 2}))
    with pytest.raises(KeyError, match="no line for"):
        with_values(text, {"d": 1})


def test_properties_are_replaced_added_and_taken_out_and_comments_kept() -> None:
    text = "# a=1\na=1\nb=2\n"
    assert with_properties(text, {"a": "3", "b": None, "c": "4"}) == "# a=1\na=3\nc=4\n"


def test_a_dry_run_writes_nothing_and_a_run_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "handler").mkdir()
    for name in (CONFIG, "config.properties"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"))
    before = (tmp_path / CONFIG).read_text()
    chosen = present(ROOT).but("other", model={"batchSize": 7}, properties={"number_of_netty_threads": "1"})
    tune.write(tmp_path, chosen, dry_run=True)
    assert (tmp_path / CONFIG).read_text() == before
    assert "batchSize: 7" in capsys.readouterr().out
    tune.write(tmp_path, chosen, dry_run=False)
    assert yaml.safe_load((tmp_path / CONFIG).read_text())["batchSize"] == 7
    assert "number_of_netty_threads=1" in (tmp_path / "config.properties").read_text().splitlines()


def test_without_an_archive_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main(["--dry-run"], root=tmp_path) == 1
    assert "make archive" in capsys.readouterr().err
