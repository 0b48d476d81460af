"""A file stands under its name only when it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from training.data.whole_files import require_space, written_whole
from training.errors import DatasetError
from training.make_dataset import make_dataset


def test_written_whole_replaces_the_file_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with written_whole(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_written_whole_of_a_failing_block_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail() -> None:
        with written_whole(path) as partial:
            partial.write_text("half")
            raise KeyError("not of the disk")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["tweets.parquet", "data.lock.json", "report.json"])
def test_make_dataset_onto_a_full_disk_says_so_and_keeps_the_table_before(
    raw_dir: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("before")
    (out / f"{name}.partial").symlink_to("/dev/full")  # the kernel's own ENOSPC
    with pytest.raises(DatasetError, match=rf"{name} cannot be written: no space left on its disk; .*free some space"):
        make_dataset(raw_dir, out, accept_changed=True)
    assert (out / name).read_text() == "before"
    assert not (out / f"{name}.partial").is_symlink()


def test_written_whole_of_a_parquet_file_onto_a_full_disk_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.partial").symlink_to("/dev/full")
    table = pd.DataFrame({"text": [f"row {number}" for number in range(100_000)]})

    def write() -> None:
        with written_whole(tmp_path / "a.parquet") as partial:
            table.to_parquet(partial)

    with pytest.raises(DatasetError, match="no space left on its disk"):
        write()
    assert not list(tmp_path.iterdir())


def test_written_whole_where_a_folder_should_be_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="expected a folder that can be written"), written_whole(tmp_path / "file/a"):
        pass


def test_require_space_of_too_little_says_how_much_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    require_space(tmp_path / "not" / "made", 3_000_000)
    with pytest.raises(DatasetError, match="3 MB free; expected 4 MB"):
        require_space(tmp_path / "not" / "made", 4_000_000)


def test_make_dataset_without_enough_space_stops_before_the_work(
    raw_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DatasetError, match="0 MB free"):
        make_dataset(raw_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()
