"""Installing with pip, and the one line that a failure is turned into."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pip
import pytest

from ops.environment.pip_install import InstallError, explain_failure, install


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one real wheel, and pip cut off from every index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_thing.py", "answer = 42\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    for name, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(folder), "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def run(tmp_path: Path, *requirement: str) -> Path:
    target = tmp_path / "target"
    install(Path(sys.executable), ["--target", str(target), *requirement], "a thing", tmp_path / "pip.log")
    return target


def test_install_when_the_package_is_there_then_installs_and_logs(wheels: Path, tmp_path: Path) -> None:
    assert (run(tmp_path, "tiny-thing==1.0") / "tiny_thing.py").is_file()
    assert "Successfully installed tiny" in (tmp_path / "pip.log").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PIP_USER", "1"), ("PIP_TARGET", "elsewhere"), ("PIP_PREFIX", "elsewhere"), ("PIP_ROOT", "elsewhere")],
)
def test_install_when_the_machine_installs_elsewhere_then_into_the_environment_all_the_same(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    venv = tmp_path / "prüfung 1" / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_ALL", "C")
    # The pip of the tests, run by the other environment's Python.
    code = "import sys; sys.path.append(sys.argv.pop(1)); from pip._internal.cli.main import main; sys.exit(main())"
    python = venv / "bin" / "python_with_pip"
    site = str(Path(pip.__file__).parents[1])
    python.write_text(f'#!/bin/sh\nshift 2\nexec "{venv}/bin/python" -c \'{code}\' "{site}" "$@"\n')
    python.chmod(0o755)
    install(python, ["tiny-thing==1.0"], "a thing", tmp_path / "pip.log")
    assert list(venv.glob("lib/python3*/site-packages/tiny_thing.py"))
    assert not (tmp_path / "elsewhere").exists()


def test_install_when_the_index_lacks_it_then_names_the_package_and_what_to_do(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"no file of tiny-thing==2\.0 .*expected CPython .*pip\.log"):
        run(tmp_path, "tiny-thing==2.0")


def test_install_when_the_index_cannot_be_reached_then_names_package_and_trouble(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the port that discards; nobody listens
    with pytest.raises(InstallError, match=r"downloading tiny-other==1\.0 failed \(\w+\); check network"):
        run(tmp_path, "tiny-other==1.0")


def test_install_when_the_file_has_another_hash_then_refuses_it(wheels: Path, tmp_path: Path) -> None:
    locked = tmp_path / "lock.txt"
    locked.write_text(f"tiny-thing==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(InstallError, match=r"tiny-thing==1\.0 does not have the hash of requirements/lock"):
        run(tmp_path, "--require-hashes", "-r", str(locked))
    assert not (tmp_path / "target" / "tiny_thing.py").exists()


def test_explain_failure_when_the_disk_is_full_then_says_so() -> None:
    lines = ["Collecting torch==2.13.0\n", "ERROR: Could not install packages: [Errno 28] No space left on device\n"]
    assert explain_failure(lines).startswith("the disk is full while installing torch==2.13.0; free some space")


def test_explain_failure_when_the_cause_is_unknown_then_quotes_the_last_error() -> None:
    lines = ["Collecting a==1\n", "ERROR: first\n", "ERROR: Failed building wheel for a\n", "more\n"]
    assert explain_failure(lines) == "installing a==1 failed: ERROR: Failed building wheel for a"
