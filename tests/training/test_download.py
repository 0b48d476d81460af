"""Downloads: clear refusals, nothing half-written. The network is a file here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from training import download as module
from training.errors import DatasetError


def test_download_without_kagglehub_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DatasetError, match="kagglehub is not installed; run `pip install kagglehub`"):
        module.download(tmp_path)


def test_download_of_crisislex_keeps_what_is_there_and_fetches_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = tmp_path / "upstream"
    for path in module.T6_FILES.values():
        (upstream / path).parent.mkdir(parents=True)
        (upstream / path).write_text("tweet id, tweet, label\n")
    monkeypatch.setattr(module, "_CRISISLEX_URL", upstream.as_uri())
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in module.KAGGLE_FILES:
        (raw / name).write_text("here already")
    kept = raw / "crisislex" / "t6" / "2013_Alberta_Floods.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("here already")
    module.download(raw)
    assert kept.read_text() == "here already"
    assert {path.name for path in kept.parent.iterdir()} == set(module.T6_FILES)


def test_download_of_an_unreachable_file_leaves_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CRISISLEX_URL", (tmp_path / "nothing").as_uri())
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in module.KAGGLE_FILES:
        (raw / name).write_text("here already")
    with pytest.raises(DatasetError, match=r"cannot be fetched .* expected CrisisLex at commit d67cddd"):
        module.download(raw)
    assert not any((raw / "crisislex" / "t6").iterdir())
