"""An activated environment gives a bare `torchserve --start` a private temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.environment.activation import add_private_folder


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    folder = tmp_path / "pr\u00fcfung 1" / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "activate").write_text(f"VIRTUAL_ENV='{folder}'\nexport VIRTUAL_ENV\n", encoding="utf-8")
    return folder


def activated(shell: str, venv: Path, shared: Path) -> subprocess.CompletedProcess[str]:
    words = f'. \'{venv}/bin/activate\' && echo "$TMPDIR" && echo "$TEMP"'
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(shared), "LC_ALL": "C"}
    return subprocess.run([shell, "-c", words], env=environment, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh"])
def test_activate_when_sourced_then_both_variables_name_a_private_folder(
    venv: Path, tmp_path: Path, shell: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing")
    assert add_private_folder(venv)
    assert not add_private_folder(venv)
    for _ in range(2):
        one, other = activated(shell, venv, tmp_path).stdout.splitlines()
        assert one == other
        assert Path(one).parent == tmp_path
        assert Path(one).stat().st_mode & 0o777 == 0o700


def test_activate_when_activated_again_in_one_shell_then_the_same_folder(venv: Path, tmp_path: Path) -> None:
    """`torchserve --stop` looks for the pid file there."""
    add_private_folder(venv)
    (one, _) = activated("sh", venv, tmp_path).stdout.splitlines()
    assert activated("sh", venv, Path(one)).stdout.splitlines() == [one, one]


def test_activate_when_the_folder_is_a_link_then_it_is_not_used(venv: Path, tmp_path: Path) -> None:
    add_private_folder(venv)
    folder = Path(activated("sh", venv, tmp_path).stdout.splitlines()[0])
    folder.rmdir()
    folder.symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "other").mkdir()
    result = activated("sh", venv, tmp_path)
    assert str(folder) not in result.stdout
    assert "is no folder of this user" in result.stderr
