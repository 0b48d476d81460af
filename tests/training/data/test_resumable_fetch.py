"""An interrupted download goes on where it stopped, and never with another file's bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.training.file_server import FileServer
from training.data.resumable_fetch import fetch
from training.errors import DatasetError

CONTENT = b"".join(b"row %d of a raw file\n" % number for number in range(20_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CUT_BYTES = 150_000


@pytest.fixture
def target(file_server: FileServer, tmp_path: Path) -> Path:
    (file_server.folder / "a.csv").write_bytes(CONTENT)
    return tmp_path / "here.csv"


def _interrupted(server: FileServer, target: Path, sha256: str = "") -> None:
    server.cut_after_bytes = CUT_BYTES
    with pytest.raises(DatasetError, match="call again to go on from there"):
        fetch(f"{server.url}/a.csv", target, sha256)
    server.cut_after_bytes = None
    assert not target.exists()
    assert target.with_name("here.csv.partial").read_bytes() == CONTENT[:CUT_BYTES]


def _assert_whole(target: Path, content: bytes = CONTENT) -> None:
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.glob("here.csv*")] == ["here.csv"]


def test_fetch_of_an_interrupted_file_asks_for_the_rest_only(file_server: FileServer, target: Path) -> None:
    _interrupted(file_server, target)
    fetch(f"{file_server.url}/a.csv", target)
    _assert_whole(target)
    _, headers = file_server.requests[-1]
    assert headers["Range"] == f"bytes={CUT_BYTES}-"
    assert headers["If-Range"] == file_server.etag(CONTENT)


def test_fetch_of_a_file_that_changed_meanwhile_starts_anew(file_server: FileServer, target: Path) -> None:
    _interrupted(file_server, target)
    other = CONTENT.replace(b"row", b"col") + b"more"
    (file_server.folder / "a.csv").write_bytes(other)
    fetch(f"{file_server.url}/a.csv", target)
    _assert_whole(target, other)


def test_fetch_without_a_strong_etag_and_hash_starts_anew(file_server: FileServer, target: Path) -> None:
    file_server.weak_etags = True
    _interrupted(file_server, target)
    fetch(f"{file_server.url}/a.csv", target)
    _assert_whole(target)
    assert "Range" not in file_server.requests[-1][1]


def test_fetch_without_a_strong_etag_goes_on_where_a_hash_will_prove_it(file_server: FileServer, target: Path) -> None:
    file_server.weak_etags = True
    _interrupted(file_server, target, SHA256)
    fetch(f"{file_server.url}/a.csv", target, SHA256)
    _assert_whole(target)
    assert file_server.requests[-1][1]["Range"] == f"bytes={CUT_BYTES}-"


def test_fetch_of_a_mended_beginning_with_another_rest_is_refused_by_its_hash(
    file_server: FileServer, target: Path
) -> None:
    file_server.weak_etags = True
    _interrupted(file_server, target, SHA256)
    (file_server.folder / "a.csv").write_bytes(CONTENT.replace(b"row", b"col"))
    with pytest.raises(DatasetError, match=f"has sha256 [0-9a-f]{{64}}; expected {SHA256}"):
        fetch(f"{file_server.url}/a.csv", target, SHA256)
    assert not list(target.parent.glob("here.csv*"))


def test_fetch_of_a_file_that_came_whole_and_was_not_renamed_ends_well(file_server: FileServer, target: Path) -> None:
    target.with_name("here.csv.partial").write_bytes(CONTENT)
    fetch(f"{file_server.url}/a.csv", target, SHA256)
    _assert_whole(target)


def test_fetch_with_another_range_than_asked_for_is_refused(file_server: FileServer, target: Path) -> None:
    _interrupted(file_server, target)
    file_server.shifted_range = True
    with pytest.raises(DatasetError, match="another part of the file than the one from byte 150000 on"):
        fetch(f"{file_server.url}/a.csv", target)
    assert not target.exists()


def test_fetch_of_a_missing_file_names_the_address(file_server: FileServer, target: Path) -> None:
    with pytest.raises(DatasetError, match=r"/b\.csv cannot be fetched \(HTTP Error 404"):
        fetch(f"{file_server.url}/b.csv", target)


def test_fetch_onto_a_full_disk_says_so_and_leaves_no_file(file_server: FileServer, target: Path) -> None:
    target.with_name("here.csv.partial").symlink_to("/dev/full")  # the kernel's own ENOSPC
    with pytest.raises(DatasetError, match="no space left on its disk"):
        fetch(f"{file_server.url}/a.csv", target)
    assert not target.exists()
