"""A command that is run by a Python without the project's packages says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def commands(folder: Path) -> list[Path]:
    """Return the modules of a folder that can be run, in order of their names."""
    return [
        path for path in sorted(folder.glob("*.py")) if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]


CALLS = [(str(path), "--help") for path in commands(ROOT / "scripts")]
CALLS += [
    ("-m", "export", "--help"),
    *(("-m", f"training.{path.stem}", "--help") for path in commands(ROOT / "training")),
]


def run_bare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program with Python's own library and nothing installed."""
    command = [sys.executable, "-S", "-E", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("call", CALLS)
def test_command_outside_the_environment_helps_or_says_where_it_runs(call: tuple[str, ...]) -> None:
    result = run_bare(*call)
    assert "Traceback" not in result.stderr
    if result.returncode == 0:
        assert "usage: " in result.stdout
    else:
        assert "has no package" in result.stderr
        assert "make setup" in result.stderr
        assert result.stderr.count("\n") == 1


def test_what_to_run_instead_is_the_same_command() -> None:
    said = run_bare("-m", "training.train", "trainer.max_epochs=1").stderr
    assert said.rstrip().endswith(".venv/bin/python -S -E -m training.train trainer.max_epochs=1")


def test_doctor_outside_the_environment_is_one_that_needs_it() -> None:
    assert run_bare(ROOT / "scripts" / "doctor.py").returncode == 1


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\nimport in_environment\n1 / 0\n")
    result = run_bare(script)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import tweetclf.no_such_module",  # a bug of ours
        "from scripts import no_such_command",
        "import encodings.no_such_encoding",  # of Python
        "import _tkinter.none",
        "raise ModuleNotFoundError('a message of a program')",
    ],
)
def test_module_that_no_environment_brings_when_missing_then_keeps_its_traceback(
    tmp_path: Path, statement: str
) -> None:
    script = tmp_path / "broken.py"
    paths = [str(ROOT), str(ROOT / "scripts")]
    script.write_text(f"import sys\nsys.path[:0] = {paths!r}\nimport in_environment\n{statement}\n")
    result = run_bare(script)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "make setup" not in result.stderr


def test_package_when_missing_then_the_line_that_imports_it_is_named() -> None:
    assert "(imported in training/" in run_bare("-m", "training.train").stderr


def test_program_that_imports_the_export_when_it_fails_then_keeps_its_own_report() -> None:
    code = "import sys, export, export.__main__; print(sys.excepthook is sys.__excepthook__)"
    assert run_bare("-c", code).stdout == "True\n"
