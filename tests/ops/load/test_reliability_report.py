"""The page says what the records say, and the committed one is not stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.load import reliability as reliability_report
from ops.load.reliability import RECORDS, ReportError, main, page
from tests.conftest import ROOT

FAULT = {
    **{"fault": "kill -9 of the worker", "protocol": "REST", "sent": 1234, "lost": 0, "wrong": 0, "misplaced": 0},
    **{"recovered_s": 1.5, "slowest_s": 2.25, "seen_without_retries": {"HTTP 200": 40, "HTTP 500": 2}},
}


def write(root: Path, name: str, record: object) -> None:
    (root / RECORDS).mkdir(parents=True, exist_ok=True)
    (root / RECORDS / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def test_the_page_when_a_record_is_there_then_holds_its_figures(tmp_path: Path) -> None:
    write(tmp_path, "chaos", {"run_at": "2026-01-01T00:00Z", "response_timeout_s": 8, "faults": [FAULT]})
    text = page(tmp_path)
    assert "| kill -9 of the worker | REST | 1,234 | 0 | 0 | 0 | 1.5 s | 2.25 s | 40 x HTTP 200, 2 x HTTP 500 |" in text
    assert "Run 2026-01-01T00:00Z." in text


def test_the_page_when_a_subject_was_not_run_then_says_so(tmp_path: Path) -> None:
    sections = page(tmp_path).split("## ")[1:]
    assert len(sections) == 1 + len(reliability_report.SECTIONS)
    assert all("Not run." in section for section in sections)


@pytest.mark.parametrize("record", [[], {}, {"run_at": "x", "faults": []}, {"run_at": "x", "faults": [{"fault": "y"}]}])
def test_a_record_that_lacks_a_figure_is_refused_by_name(tmp_path: Path, record: object) -> None:
    write(tmp_path, "chaos", record)
    with pytest.raises(ReportError, match=r"chaos\.json"):
        page(tmp_path)
    assert main([], tmp_path) == 1


def test_check_when_the_page_is_stale_then_fails_and_writes_nothing(tmp_path: Path) -> None:
    assert main(["--check"], tmp_path) == 1
    assert not (tmp_path / reliability_report.PAGE).exists()
    (tmp_path / "docs").mkdir()
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0


def test_the_committed_page_is_what_the_committed_records_say() -> None:
    assert main(["--check"], ROOT) == 0
