"""Which Java TorchServe would run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.torchserve.java import JavaError, find_java, java_version, link_java


def java(folder: Path, answer: str) -> Path:
    """Write a program that prints what a Java of that version prints."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho '{answer}' >&2\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("not a Java", None),
    ],
)
def test_java_version_reads_old_and_new_numbering(tmp_path: Path, answer: str, version: int | None) -> None:
    assert java_version(java(tmp_path, answer)) == version


def test_find_java_when_java_home_is_set_then_takes_it_before_path(tmp_path: Path) -> None:
    home = java(tmp_path / "home" / "bin", 'openjdk version "21.0.1"')
    java(tmp_path / "path", 'openjdk version "17.0.1"')
    assert find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")}) == home


@pytest.mark.parametrize("answer", ['java version "1.8.0_402"', None])
def test_find_java_when_java_home_is_no_use_then_says_so_despite_a_good_one_on_path(
    tmp_path: Path, answer: str | None
) -> None:
    if answer:
        java(tmp_path / "home" / "bin", answer)
    java(tmp_path / "path", 'openjdk version "17.0.1"')
    with pytest.raises(JavaError, match="correct JAVA_HOME or unset it"):
        find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")})


@pytest.mark.parametrize(("answer", "found"), [('openjdk version "11.0.2"', True), ('openjdk version "10.0.2"', False)])
def test_find_java_when_only_path_has_one_then_takes_it_from_version_11(
    tmp_path: Path, answer: str, found: bool
) -> None:
    program = java(tmp_path, answer)
    assert find_java({"PATH": str(tmp_path)}) == (program if found else None)


def test_find_java_when_there_is_none_then_returns_none(tmp_path: Path) -> None:
    assert find_java({"PATH": str(tmp_path)}) is None


def test_link_java_when_the_environment_moves_then_still_points_inside_it(tmp_path: Path) -> None:
    program = java(tmp_path / "env" / "lib" / "jdk" / "bin", 'openjdk version "21.0.1"')
    (tmp_path / "env" / "bin").mkdir()
    link_java(program, tmp_path / "env" / "bin" / "java")
    link_java(program, tmp_path / "env" / "bin" / "java")
    (tmp_path / "env").rename(tmp_path / "moved")
    assert java_version(tmp_path / "moved" / "bin" / "java") == 21
