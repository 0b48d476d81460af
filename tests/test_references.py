"""References between files lead somewhere: anchors of the diary, decision records, links of documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_repository import texts

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
DIARY = re.compile(r"docs/log/(\d{4}-\d{2})\.md(?:#([\w-]+))?")
RECORD = re.compile(r"docs/adr/(\d{4})([\w-]*)")


def anchors(path: Path) -> list[str]:
    """Anchors of a document: those that are written out, and those that GitHub makes of headings."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    made = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return re.findall(r'<a id="([^"]+)">', text) + made


def documents() -> list[tuple[str, str]]:
    """Texts of the documents; a template's links count from where it is written to."""
    return [(name, text) for name, text in texts() if name.endswith(".md") and not name.endswith("_template.md")]


def test_every_relative_link_of_a_document_leads_to_a_file_and_its_anchor() -> None:
    broken = []
    for name, text in documents():
        for target in LINK.findall(text):
            address, _, anchor = target.partition("#")
            path = ROOT / Path(name).parent / address if address else ROOT / name
            if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
                broken.append(f"{name}: {target}")
    assert not broken


def test_every_reference_to_the_diary_leads_to_an_entry() -> None:
    found = [(name, *match) for name, text in texts() for match in DIARY.findall(text)]
    assert len(found) > 20
    broken = []
    for name, month, anchor in found:
        path = ROOT / "docs" / "log" / f"{month}.md"
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{name}: {month}#{anchor}")
    assert not broken
    assert not [name for name, text in texts() if "docs/" + "log.md" in text and not name.startswith("docs/log/")]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "log").glob("2*.md")), ids=lambda path: path.stem)
def test_every_entry_of_the_diary_has_an_anchor_of_its_own(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = [number for number, line in enumerate(lines) if line.startswith("## ")]
    assert entries
    assert not [lines[number] for number in entries if not lines[number - 1].startswith('<a id="')]
    written = re.findall(r'<a id="([^"]+)">', "\n".join(lines))
    assert len(written) == len(set(written))


def test_decision_records_are_numbered_without_a_gap_and_every_reference_finds_one() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "adr").glob("0*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        heading = (ROOT / "docs" / "adr" / name).read_text(encoding="utf-8").splitlines()[0]
        assert heading.startswith(f"# {int(name[:4])}. ")
    broken = []
    for name, text in texts():
        for number, rest in RECORD.findall(text):
            if not any(record.startswith(f"{number}{rest}") for record in names):
                broken.append(f"{name}: {number}{rest}")
        for number in re.findall(r"\bADR (\d+)\b", text):
            if not 1 <= int(number) <= len(names):
                broken.append(f"{name}: ADR {number}")
    assert not broken
