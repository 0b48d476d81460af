"""Cases are read strictly, and pass exactly when the scores are as they should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.errors import DatasetError
from training.evaluation import behaviour
from training.evaluation.answer_sources import Answer
from training.evaluation.behaviour import CASES, Case, behaviour_report, behaviour_table, read_cases


class FireSource:
    """Says `disaster` of every text with the word fire."""

    kind, name, model_version, engine = "model", "fake", "1-fake", "rule"

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        return [Answer(0.9 if "fire" in text else 0.1, "review") for text in texts]


@pytest.mark.parametrize(
    ("case", "scores", "passes"),
    [
        (Case("functionality", "a", "1", "t", "", "disaster"), (0.5, 0.0), True),
        (Case("functionality", "a", "1", "t", "", "disaster"), (0.49, 0.0), False),
        (Case("functionality", "a", "1", "t", "", "not_disaster"), (0.49, 0.0), True),
        (Case("invariance", "a", "1", "t", "u"), (0.8, 0.71), True),
        (Case("invariance", "a", "1", "t", "u"), (0.8, 0.69), False),
        (Case("invariance", "a", "1", "t", "u"), (0.51, 0.49), False),
        (Case("direction", "a", "1", "t", "u", "up"), (0.5, 0.51), True),
        (Case("direction", "a", "1", "t", "u", "up"), (0.5, 0.5), False),
        (Case("direction", "a", "1", "t", "u", "down"), (0.5, 0.4), True),
        (Case("direction", "a", "1", "t", "u", "down"), (0.5, 0.6), False),
    ],
)
def test_passes_of_each_kind_follows_its_rule(case: Case, scores: tuple[float, float], passes: bool) -> None:
    assert case.passes(*scores) is passes


def test_the_cases_are_many_and_of_every_kind() -> None:
    cases = read_cases(CASES)
    assert len(cases) >= 150
    assert {case.kind for case in cases} == {"functionality", "invariance", "direction"}
    assert not [case.id for case in cases if case.text == case.changed]
    labels = [case.expected for case in cases if case.kind == "functionality"]
    assert 0.3 < labels.count("disaster") / len(labels) < 0.7


def test_behaviour_report_counts_kinds_and_capabilities_and_lists_the_failed() -> None:
    cases = [
        Case("functionality", "speech", "s-1", "this mixtape is fire", "", "not_disaster"),
        Case("functionality", "event", "e-1", "a house on fire", "", "disaster"),
        Case("invariance", "names", "n-1", "Ann saw fire", "Bob saw fire"),
        Case("direction", "harm", "d-1", "smoke", "smoke and fire", "up"),
    ]
    report = behaviour_report(FireSource(), cases)
    assert (report["cases"], report["passed"]) == (4, 3)
    kinds = report["kinds"]
    assert kinds["functionality"]["capabilities"]["speech"] == {"cases": 1, "passed": 0, "pass_rate": 0.0}
    assert (kinds["functionality"]["pass_rate"], kinds["invariance"]["pass_rate"]) == (0.5, 1.0)
    assert report["failed"] == [{"id": "s-1", "score": 0.9}]
    assert "| functionality | all | 2 | 1 | 50.0% |" in behaviour_table(report)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("functionality.csv", "id,text\na,b\n", r"has columns \['id', 'text'\]; expected \['id', 'capability'"),
        ("functionality.csv", "id,capability,text,label\na,b,c,maybe\n", "line 2: label is 'maybe'"),
        ("functionality.csv", "id,capability,text,label\na,b,,disaster\n", "line 2 has an empty field"),
        ("direction.csv", "id,capability,text,changed,direction\na,b,c\n", "line 2 has 3 fields"),
        ("direction.csv", "id,capability,text,changed,direction\na,b,c,d,left\n", "direction is 'left'"),
        ("invariance.csv", "id,capability,text,changed\nx,b,c,d\nx,b,c,e\n", r"has the ids \['x'\] more than once"),
    ],
)
def test_read_cases_of_a_bad_file_names_file_and_line(tmp_path: Path, file: str, content: str, message: str) -> None:
    for name in ("functionality", "invariance", "direction"):
        shutil.copyfile(CASES / f"{name}.csv", tmp_path / f"{name}.csv")
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        read_cases(tmp_path)


def test_main_writes_the_report_of_a_bundle(
    tiny_bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "behaviour.json"
    options = ["--bundle", str(tiny_bundle_dir), "--engine", "torchscript", "--failures", "--output", str(output)]
    assert behaviour.main(options) == 0
    report = json.loads(output.read_text())
    assert report["source"]["engine"] == "torchscript"
    assert f"| functionality | all | {report['kinds']['functionality']['cases']} |" in capsys.readouterr().out


def test_main_without_cases_refuses(tiny_bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert behaviour.main(["--bundle", str(tiny_bundle_dir), "--cases", str(tmp_path)]) == 1
    assert "functionality.csv is missing; expected cases of functionality" in capsys.readouterr().err
