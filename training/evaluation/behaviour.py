"""Ask a model own-written sentences whose answers are known: `python -m training.evaluation.behaviour`.

Three kinds of cases, each in its file: `functionality.csv` (the label is right), `invariance.csv` (a change that does
not matter does not matter), `direction.csv` (a change that matters moves the score the right way).

Source: Ribeiro et al. 2020, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList, arXiv:2005.04118.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.arguments import add_source, command
from training.data.csv_files import read_csv
from training.errors import DatasetError, TrainingError
from training.evaluation.answer_sources import AnswerSource, ask, open_source
from training.model.base_encoder import BaseEncoderError
from training.model.model import LABELS, AdapterError
from training.reports.behaviour_table import behaviour_table
from tweetclf.errors import TweetClfError

CASES = Path(__file__).resolve().parents[2] / "tests" / "behaviour"
FUNCTIONALITY, INVARIANCE, DIRECTION = "functionality", "invariance", "direction"
# A score may move by so much without another label and still count as unmoved.
# Source: CheckList's own tolerance for invariance, notebooks of arXiv:2005.04118.
TOLERANCE = 0.1

EXAMPLE = """examples:
  python -m training.evaluation.behaviour                                    the model of model/
  python -m training.evaluation.behaviour --bundle build/bundle --engine openvino
  python -m training.evaluation.behaviour --failures                         with the cases that fail
"""


@dataclass(frozen=True)
class Case:
    """One sentence or pair.

    Args:
        kind: FUNCTIONALITY, INVARIANCE or DIRECTION.
        capability: what it is a case of.
        id: unique.
        text: the sentence.
        changed: the same after a change; "" for FUNCTIONALITY.
        expected: a label for FUNCTIONALITY, "up" or "down" for DIRECTION, else "".
    """

    kind: str
    capability: str
    id: str
    text: str
    changed: str = ""
    expected: str = ""

    def passes(self, score: float, changed_score: float) -> bool:
        """Return whether the scores, p(disaster) of text and changed text, are as they should be."""
        if self.kind == FUNCTIONALITY:
            return (score >= 0.5) == (self.expected == LABELS[1])
        if self.kind == INVARIANCE:
            same_label = (score >= 0.5) == (changed_score >= 0.5)
            return same_label and abs(changed_score - score) <= TOLERANCE
        return changed_score > score if self.expected == "up" else changed_score < score


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    FUNCTIONALITY: ("id", "capability", "text", "label"),
    INVARIANCE: ("id", "capability", "text", "changed"),
    DIRECTION: ("id", "capability", "text", "changed", "direction"),
}
_EXPECTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    FUNCTIONALITY: ("label", LABELS),
    DIRECTION: ("direction", ("up", "down")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask all cases, print and write the pass rates; return the exit status (0 done, 1 refused)."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        cases = read_cases(options.cases)
        report = behaviour_report(_source(options), cases)
    except (TrainingError, TweetClfError, AdapterError, BaseEncoderError) as error:
        print(f"behaviour refused: {error}", file=sys.stderr)
        return 1
    print(behaviour_table(report))
    if options.failures:
        print("\n".join(_failures(cases, report)))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(options.output)
    return 0


def read_cases(folder: Path) -> list[Case]:
    """Return the cases of the three files of a folder.

    Raises:
        DatasetError: a file is missing, has other columns, or a row is not usable; names file and line.
    """
    cases: list[Case] = []
    for kind, columns in _COLUMNS.items():
        path = folder / f"{kind}.csv"
        if not path.is_file():
            raise DatasetError(f"{path} is missing; expected cases of {kind} with columns {list(columns)}")
        rows = read_csv(path, columns)
        _, header = next(rows)
        if tuple(header) != columns:
            raise DatasetError(f"{path} has columns {header}; expected {list(columns)}")
        for line, values in rows:
            if len(values) != len(columns):
                raise DatasetError(f"{path} line {line} has {len(values)} fields; expected {list(columns)}")
            cases.append(_case(kind, dict(zip(columns, values, strict=True)), f"{path} line {line}"))
    ids = [case.id for case in cases]
    if doubled := sorted({name for name in ids if ids.count(name) > 1}):
        raise DatasetError(f"{folder} has the ids {doubled} more than once; expected each once")
    return cases


def behaviour_report(source: AnswerSource, cases: Sequence[Case]) -> dict[str, Any]:
    """Return pass rates by kind and capability, and scores of the cases that fail.

    Args:
        source: is asked every sentence once.
        cases: at least one.
    """
    texts = sorted({text for case in cases for text in (case.text, case.changed) if text})
    scores = dict(zip(texts, ask(source, texts).scores.tolist(), strict=True))
    kinds: dict[str, dict[str, Any]] = {}
    failed = []
    for case in cases:
        score, changed = scores[case.text], scores.get(case.changed, float("nan"))
        passed = case.passes(score, changed)
        entry = kinds.setdefault(case.kind, {"cases": 0, "passed": 0, "capabilities": {}})
        for counts in (entry, entry["capabilities"].setdefault(case.capability, {"cases": 0, "passed": 0})):
            counts["cases"] += 1
            counts["passed"] += passed
        if not passed:
            failed.append({"id": case.id, "score": round(score, 4)} | _changed(case, changed))
    for entry in kinds.values():
        for counts in (entry, *entry["capabilities"].values()):
            counts["pass_rate"] = round(counts["passed"] / counts["cases"], 4)
    return {
        "source": {"kind": source.kind, "name": source.name, "model_version": source.model_version}
        | {"engine": source.engine},
        "invariance_tolerance": TOLERANCE,
        "cases": len(cases),
        "passed": len(cases) - len(failed),
        "kinds": kinds,
        "failed": failed,
    }


def _case(kind: str, row: Mapping[str, str], where: str) -> Case:
    if not all(value.strip() for value in row.values()):
        raise DatasetError(f"{where} has an empty field; expected {list(_COLUMNS[kind])}")
    expected = ""
    if kind in _EXPECTED:
        column, allowed = _EXPECTED[kind]
        expected = row[column]
        if expected not in allowed:
            raise DatasetError(f"{where}: {column} is {expected!r}; expected one of {list(allowed)}")
    return Case(kind, row["capability"], row["id"], row["text"], row.get("changed", ""), expected)


def _source(options: argparse.Namespace) -> AnswerSource:
    return open_source(options.model or Path("model"), options.bundle, options.server, options.engine)


def _changed(case: Case, score: float) -> dict[str, float]:
    return {"changed_score": round(score, 4)} if case.changed else {}


def _failures(cases: Sequence[Case], report: Mapping[str, Any]) -> list[str]:
    by_id = {case.id: case for case in cases}
    lines = []
    for entry in report["failed"]:
        case = by_id[entry["id"]]
        changed = f" -> {entry['changed_score']:.2f} {case.changed!r}" if case.changed else ""
        lines.append(f"{case.id}: {entry['score']:.2f} {case.text!r}{changed}")
    return lines


def _parser() -> argparse.ArgumentParser:
    about = "Ask a model own-written sentences whose answers are known, and state the pass rates."
    parser = command("behaviour", about, EXAMPLE)
    add_source(parser)
    parser.add_argument("--cases", type=Path, default=CASES, metavar="FOLDER", help="default: tests/behaviour")
    parser.add_argument("--failures", action="store_true", help="print the cases that fail")
    output = Path("reports/behaviour.json")
    parser.add_argument("--output", type=Path, default=output, metavar="FILE", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
