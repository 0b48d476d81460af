"""The private temporary folder of a server: whose it is, and what makes it unfit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.torchserve.instance import ServerError
from ops.torchserve.temporary import make_private_folder, private_path, remove_private_folder


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_private_folder_when_made_twice_then_the_same_and_for_this_user_only(tmp_path: Path, shared: Path) -> None:
    first = make_private_folder(tmp_path)
    assert make_private_folder(tmp_path) == first
    assert first.parent == shared
    assert first.stat().st_mode & 0o777 == 0o700
    assert make_private_folder(tmp_path / "other") != first


def _link(path: Path) -> None:
    path.symlink_to(path.parent)


def _file(path: Path) -> None:
    path.touch()


def _open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _of_another_user(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("squat", [_link, _file, _open_to_others, _of_another_user])
def test_private_folder_when_something_else_is_there_then_refused_and_left_alone(
    tmp_path: Path, squat: Callable[[Path], None]
) -> None:
    path = private_path(tmp_path)
    squat(path)
    with pytest.raises(ServerError, match="expected a folder of this user"):
        make_private_folder(tmp_path)
    remove_private_folder(tmp_path)
    assert path.is_symlink() or path.exists()


def test_private_folder_when_the_temporary_folder_has_a_long_path_then_sockets_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 90)))
    assert len(os.fsencode(private_path(tmp_path) / ".ts.sock.9000")) <= 107
