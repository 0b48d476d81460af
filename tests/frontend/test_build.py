from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from frontend import build

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(build.CLASSES.rglob("*.class"))
NESTED = re.compile(r"\$\w+$")  # name of a class within another
needs_jdk = pytest.mark.skipif(
    shutil.which("javac") is None, reason="no javac; the committed classes stay unproven here"
)


def disassembled(folder: Path, path: Path) -> str:
    """Return the code without what differs from one compiler to the next: constant numbers and file dates."""
    name = str(path.relative_to(folder).with_suffix("")).replace("/", ".")
    done = subprocess.run(["javap", "-p", "-c", "-cp", str(folder), name], capture_output=True, text=True, check=True)
    return re.sub(r"#\d+(, +\d+)?", "#", done.stdout)


@needs_jdk
def test_committed_classes_when_compiled_again_then_same_code(tmp_path: Path) -> None:
    compiled = build.compile_classes(tmp_path)
    assert [path.relative_to(tmp_path) for path in compiled] == [path.relative_to(build.CLASSES) for path in COMMITTED]
    for new, old in zip(compiled, COMMITTED, strict=True):
        if new.read_bytes() != old.read_bytes():  # another compiler may lay the same code out otherwise
            assert disassembled(tmp_path, new) == disassembled(build.CLASSES, old)


def test_each_class_when_installed_torchserve_is_opened_then_takes_the_place_of_one_there() -> None:
    names = set(zipfile.ZipFile(build.torchserve_jar()).namelist())
    assert COMMITTED
    for path in COMMITTED:
        whole = path.with_name(NESTED.sub("", path.stem) + ".class")  # what it nests is its own affair
        assert whole.relative_to(build.CLASSES).as_posix() in names


def test_each_source_when_looked_for_then_has_its_class_and_no_class_is_left_over() -> None:
    sources = {path.relative_to(build.SOURCES).with_suffix("") for path in build.SOURCES.rglob("*.java")}
    classes = {path.relative_to(build.CLASSES).with_suffix("") for path in COMMITTED}
    assert {path.with_name(NESTED.sub("", path.name)) for path in classes} == sources


@pytest.mark.parametrize("name", ["io", "org"])
def test_link_at_the_root_when_read_then_leads_to_the_classes(name: str) -> None:
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).readlink() == Path("frontend/classes") / name
    assert (ROOT / name).is_dir()


def test_python_when_started_at_the_root_then_io_is_still_its_own() -> None:
    code = "import io; assert io.StringIO('x').read() == 'x', io; print(io.__spec__.origin)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "frozen"


def test_compiler_when_missing_then_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.FrontendBuildError, match="expected a JDK >= 11"):
        build.compile_classes(tmp_path / "classes")


@needs_jdk
def test_source_when_broken_then_error_carries_the_compilers_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Broken.java").write_text("class Broken { int x = ; }", encoding="utf-8")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    with pytest.raises(build.FrontendBuildError, match=r"Broken\.java"):
        build.compile_classes(tmp_path / "classes")


@needs_jdk
@pytest.mark.parametrize("source", ["class Broken { int x = ; }", None])
def test_source_when_broken_or_missing_then_classes_of_before_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str | None
) -> None:
    (tmp_path / "src").mkdir()
    if source:
        (tmp_path / "src" / "Broken.java").write_text(source, encoding="utf-8")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "src")
    shutil.copytree(build.CLASSES, tmp_path / "classes")
    with pytest.raises(build.FrontendBuildError):
        build.compile_classes(tmp_path / "classes")
    assert sorted(path.relative_to(tmp_path / "classes") for path in (tmp_path / "classes").rglob("*.class")) == [
        path.relative_to(build.CLASSES) for path in COMMITTED
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"src", "classes"}


def test_swap_when_the_new_folder_cannot_be_put_in_place_then_the_old_one_comes_back(tmp_path: Path) -> None:
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "A.class").touch()
    with pytest.raises(FileNotFoundError):
        build._swap(tmp_path / "no such folder", tmp_path / "classes", tmp_path / "old")
    assert (tmp_path / "classes" / "A.class").exists()


@needs_jdk
def test_class_that_has_no_source_any_more_when_compiled_then_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "Kept.java").write_text("class Kept { }", encoding="utf-8")
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "Gone.class").touch()
    monkeypatch.setattr(build, "SOURCES", tmp_path / "src")
    assert [path.name for path in build.compile_classes(tmp_path / "classes")] == ["Kept.class"]
