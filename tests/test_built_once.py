"""What is slow to build is built once, and what is slow to import is imported where it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.built_once import built_once
from tests.conftest import ROOT
from tests.serving.torchserve_process import free_ports

HEAVY = ("torch", "transformers", "openvino", "nncf")


class Factory:
    """Stands in for pytest's, as a worker of pytest-xdist has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def getbasetemp(self) -> Path:
        self._folder.mkdir(exist_ok=True)
        return self._folder


def test_built_once_when_two_workers_ask_then_one_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    built: list[Path] = []

    def build(folder: Path) -> None:
        folder.mkdir()
        built.append(folder)

    first = built_once(Factory(tmp_path / "gw0"), "thing", build)  # type: ignore[arg-type]
    second = built_once(Factory(tmp_path / "gw1"), "thing", build)  # type: ignore[arg-type]
    assert built == [first] == [second] == [tmp_path / "thing"]


def test_built_once_when_a_build_fails_then_the_next_one_begins_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def fail(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyError("no disk")

    with pytest.raises(KeyError):
        built_once(Factory(tmp_path), "thing", fail)  # type: ignore[arg-type]
    folder = built_once(Factory(tmp_path), "thing", lambda path: path.mkdir())  # type: ignore[arg-type]
    assert not list(folder.iterdir())


def test_conftest_when_imported_then_brings_none_of_the_heavy_packages() -> None:
    code = f"import sys, tests.conftest; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_free_ports_gives_as_many_different_ones_as_asked() -> None:
    assert len(set(free_ports(20))) == 20
