"""Downloads: clear refusals, nothing half-written, read-only files. The publishers are a folder served on loopback."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from unittest.mock import create_autospec

import kagglehub
import pytest

from tests.training.file_server import FileServer
from training.data import download as module
from training.errors import DatasetError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw folder that has Kaggle's files already."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in module.KAGGLE_FILES:
        (folder / name).write_text("here already")
    return folder


@pytest.fixture
def crisislex(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """Server with a file for every path of CrisisLex."""
    for path in module.CRISISLEX_FILES.values():
        (file_server.folder / path).parent.mkdir(parents=True)
        (file_server.folder / path).write_text(f"tweet id, tweet, label of {path}\n")
    monkeypatch.setattr(module, "_CRISISLEX_URL", file_server.url)
    return file_server


def test_download_without_kagglehub_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DatasetError, match=r"kagglehub is not installed; install requirements/train\.txt"):
        module.download(tmp_path)


def test_download_without_a_token_says_where_one_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DatasetError, match=r"train\.csv \(UnauthenticatedError: .*expected a token in ~/\.kaggle"):
        module.download(tmp_path / "raw")


def test_download_of_kaggle_copies_what_kagglehub_fetched(
    tmp_path: Path, crisislex: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(handle: str, path: str) -> str:
        (tmp_path / path).write_text(f"{path} of {handle}")
        return str(tmp_path / path)

    # The real signature: a call that this version of kagglehub would refuse is refused here too.
    fake = create_autospec(kagglehub.competition_download, side_effect=fetched)
    monkeypatch.setattr(kagglehub, "competition_download", fake)
    module.download(tmp_path / "raw")
    assert (tmp_path / "raw" / "train.csv").read_text() == "train.csv of nlp-getting-started"
    assert (tmp_path / "raw" / "train.csv").stat().st_mode & 0o777 == 0o444
    module.download(tmp_path / "raw")
    assert fake.call_count == 2  # train.csv and test.csv, once each


def test_download_of_crisislex_keeps_what_is_there_and_fetches_the_rest(raw: Path, crisislex: FileServer) -> None:
    kept = raw / "crisislex" / "t6" / "2013_Alberta_Floods.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("here already")
    module.download(raw)
    assert kept.read_text() == "here already"
    found = {path.relative_to(raw).as_posix(): path for path in (raw / "crisislex").rglob("*") if path.is_file()}
    assert found.keys() == module.CRISISLEX_FILES.keys()
    assert len(crisislex.requests) == len(found) - 1 == 4 + 19 - 1
    assert {path.stat().st_mode & 0o777 for path in found.values() if path != kept} == {0o444}


def test_download_of_a_file_that_changed_upstream_stops_with_both_hashes(raw: Path, crisislex: FileServer) -> None:
    name, path = next(iter(module.CRISISLEX_FILES.items()))
    found = hashlib.sha256((crisislex.folder / path).read_bytes()).hexdigest()
    expected = "0" * 64
    with pytest.raises(DatasetError, match=f"has sha256 {found}; expected {expected}"):
        module.download(raw, {name: expected})
    assert not [path for path in (raw / "crisislex").rglob("*") if path.is_file()]


def test_download_of_an_unreachable_file_says_how_to_go_on(raw: Path, crisislex: FileServer) -> None:
    crisislex.close()
    with pytest.raises(DatasetError, match=r"cannot be fetched .*; call again to go on from there, or use --from"):
        module.download(raw)
    assert not [path for path in (raw / "crisislex").rglob("*") if path.is_file()]


def test_crisislex_is_pinned_by_a_whole_commit_and_its_lock_by_hash() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", module.CRISISLEX_COMMIT)
    assert module.CRISISLEX_COMMIT in module._CRISISLEX_URL
