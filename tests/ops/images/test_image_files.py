"""The image holds every script that its start command and its health check import."""

from __future__ import annotations

import ast
import fnmatch
import re

from tests.conftest import ROOT

SCRIPTS = ROOT / "scripts"


def needed(name: str, seen: set[str]) -> set[str]:
    """Return a script with all of ours that it imports, at any depth."""
    if name in seen or not (SCRIPTS / f"{name}.py").is_file():
        return seen
    seen.add(name)
    for node in ast.walk(ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for imported in names:
            needed(imported, seen)
    return seen


def copied(stage: str) -> list[str]:
    """Return the patterns of scripts that a stage of the Dockerfile copies from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", stage.replace("\\\n", " "), re.MULTILINE)
    return [word for line in lines for word in line.split()[:-1] if word.startswith("scripts")]


def test_image_when_built_then_holds_what_its_programs_import() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (stage,) = [
        part
        for part in re.split(r"^FROM ", text, flags=re.MULTILINE)
        if part.startswith("debian:bookworm-slim AS server\n")
    ]
    patterns = copied(stage)
    programs = set(re.findall(r"scripts/(\w+)\.py", stage.partition("HEALTHCHECK")[2]))
    assert programs == {"serve", "supervise"}
    missing = {
        name
        for program in programs
        for name in needed(program, set())
        if not any(fnmatch.fnmatch(f"scripts/{name}.py", pattern) for pattern in patterns)
    }
    assert not missing


def test_export_stage_when_built_then_holds_what_verifies_the_signature() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (stage,) = [part for part in re.split(r"^FROM ", text, flags=re.MULTILINE) if "python -m export" in part]
    for name in needed("verify_archive", set()):
        assert any(fnmatch.fnmatch(f"scripts/{name}.py", pattern) for pattern in copied(stage)), name
