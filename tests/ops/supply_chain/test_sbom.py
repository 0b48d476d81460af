"""The bill of materials: valid, reproducible, and everything that is served in it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from ops.supply_chain import audit, sbom
from tests.conftest import ROOT
from tests.support.signed_archive import seal, write_zip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sbom")
    for name in (sbom.LOCK, sbom.PINS, sbom.RISKS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    seal(write_zip(folder / "model_store" / "tweets.mar"), folder / "keys")
    return folder


@pytest.fixture(scope="module")
def bill(root: Path) -> dict[str, Any]:
    assert sbom.main([], root=root) == 0
    return json.loads((root / "build" / "sbom.cdx.json").read_text())


def test_bill_when_made_then_valid_by_cyclonedxs_own_schema(bill: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None


def test_bill_when_made_again_then_the_same_bytes(root: Path, bill: dict[str, Any]) -> None:
    assert sbom.build_bill(root) == bill


def test_bill_when_made_then_holds_every_locked_package_torch_the_jar_and_the_model(
    root: Path, bill: dict[str, Any]
) -> None:
    names = {component["name"] for component in bill["components"]}
    locked = set(re.findall(r"^([a-z0-9][\w.-]*)==", (root / sbom.LOCK).read_text(), re.MULTILINE))
    assert locked <= names
    assert {"torch", "netty", "protobuf-java", "ts/frontend/model-server.jar"} <= names
    (model,) = [one for one in bill["components"] if one["type"] == "machine-learning-model"]
    assert "bundle/model.pt" in {file["name"] for file in model["components"]}
    assert all(file["hashes"] for file in model["components"])


def test_bill_when_made_then_tells_nothing_of_the_machine(root: Path, bill: dict[str, Any]) -> None:
    assert str(root) not in json.dumps(bill)
    assert "://" not in json.dumps(bill["components"])  # no address of a registry


def test_bill_when_there_is_no_archive_then_says_how_to_build_it(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root, tmp_path / "root", ignore=shutil.ignore_patterns("model_store"))
    assert sbom.main([], root=tmp_path / "root") == 1
    assert "make archive" in capsys.readouterr().err


def fake_audit(folder: Path, answer: str | None) -> list[str]:
    """A program that answers as pip-audit does; None as it does without a network."""
    script = folder / "fake_audit.py"
    write = "" if answer is None else f"open(sys.argv[sys.argv.index('-o') + 1], 'w').write({answer!r})\n"
    script.write_text(f"import sys\n{write}sys.exit(1)\n")
    return [sys.executable, str(script)]


HOLE = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"]}
FOUND = json.dumps({"dependencies": [{"name": "x", "version": "1.0", "vulns": [HOLE]}, {"name": "y", "version": "1"}]})


@pytest.mark.parametrize(
    ("answer", "accepted", "status", "said"),
    [
        (FOUND, [], 1, "open: x 1.0: PYSEC-2026-1, mended in 2.0"),
        (FOUND, ["CVE-2026-1"], 0, "2 packages, 0 open holes, 1 accepted"),
        ('{"dependencies": []}', ["CVE-2026-1"], 0, "accepted and no longer found"),
        (None, [], 2, "reached no data"),
        ("not JSON", [], 2, "reached no data"),
    ],
)
def test_audit_when_pip_audit_answers_then_only_open_holes_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str | None, accepted: list[str], status: int, said: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / audit.RISKS).write_text(json.dumps({"python": [{"id": name} for name in accepted]}))
    assert audit.main([], root=tmp_path, program=fake_audit(tmp_path, answer)) == status
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
