"""The doctor on whole and on broken installations."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import doctor
import doctor_machine
from doctor_properties import KNOWN, check_properties
from frontend.build import torchserve_jar
from tests.conftest import ROOT
from tests.scripts.broken_configurations import (
    BROKEN,
    Broken,
    Installation,
    make_broken,
    make_installation,
    other_torchserve,
    taken_port,
)


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TorchServe of the machine must not be found."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return make_installation(tmp_path)


def test_examine_when_nothing_is_wrong_then_finds_nothing(place: Installation) -> None:
    assert place.examine() == []


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_examine_when_broken_then_says_where_and_how_to_mend(tmp_path: Path, case: Broken) -> None:
    findings = make_broken(case, tmp_path).examine()
    (told, *_) = [one for one in findings if case.where in one.where and one.severity == case.severity]
    assert told.found
    assert told.expected
    assert told.mend
    assert "\n" not in told.line()


def test_our_own_settings_when_examined_then_nothing_is_wrong() -> None:
    text = (ROOT / "config.properties").read_text(encoding="utf-8")
    assert check_properties(text, frozenset({"minWorkers", "jobQueueSize"})) == []


def test_known_keys_when_compared_with_torchserves_own_then_the_same() -> None:
    """The names stand as constants in the jar's class; read without Java."""
    with zipfile.ZipFile(torchserve_jar()) as opened:
        content = opened.read("org/pytorch/serve/util/ConfigManager.class")
    constants = {found.decode() for found in re.findall(rb"\x01\x00.([a-z][a-z0-9_]{3,60})", content)}
    of_the_launcher = {"plugins_path", "vmargs"}
    assert set(KNOWN) - of_the_launcher <= constants


def test_examine_when_a_port_is_taken_then_names_it(tmp_path: Path) -> None:
    with taken_port(tmp_path) as (place, port):
        (told,) = place.examine()
    assert told.where == f"port {port}"
    assert "metrics_address" in told.mend


def test_examine_when_another_torchserve_has_the_temporary_folder_then_says_so(
    place: Installation, tmp_path: Path
) -> None:
    with other_torchserve(tmp_path):
        (told,) = place.examine()
    assert told.where == "TMPDIR"
    assert "make serve" in told.mend


def test_examine_when_the_own_server_runs_then_its_folder_and_ports_are_no_fault(place: Installation) -> None:
    with other_torchserve(place.root):
        assert place.examine() == []


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda monkeypatch: monkeypatch.setattr(doctor_machine, "LOGS_BYTES", 1 << 60), "disk at"),
        (lambda monkeypatch: monkeypatch.setattr(doctor_machine, "PYTHONS", ((3, 90), (3, 91))), "python"),
        (lambda monkeypatch: monkeypatch.setattr(doctor_machine, "LOWEST_TORCH", (99, 0)), "torch"),
        (lambda monkeypatch: monkeypatch.setattr(doctor_machine, "TORCHSERVE", "0.13.0"), "torchserve"),
    ],
)
def test_examine_when_the_machine_lacks_something_then_says_what(
    place: Installation,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
    where: str,
) -> None:
    spoil(monkeypatch)
    (told,) = place.examine()
    assert where in told.where


def test_examine_when_the_gateway_does_not_fit_the_server_then_warns(place: Installation) -> None:
    folder = place.root / "deploy" / "gateway"
    folder.mkdir(parents=True)
    (folder / "gateway.yaml").write_text("server_rest: 127.0.0.1:1\nmax_body_bytes: 99999999\n")
    told = {finding.where.rpartition(": ")[2] for finding in place.examine() if finding.severity == "warning"}
    assert told == {"server_rest", "max_body_bytes"}
    (folder / "gateway.yaml").write_text("server_rest: [\n")
    (finding,) = place.examine()
    assert "no YAML" in finding.found


def test_main_when_an_error_is_found_then_status_1_and_json_holds_it(
    place: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    place.property("enable_model_api=true")
    place.append("default_startup_timeout=1")
    assert doctor.main(["--json"], place.root, place.bin_dir) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["errors"], told["warnings"]) == (1, 1)
    assert told["findings"][0]["severity"] == "error"


def test_main_when_only_warnings_are_found_then_status_0(
    place: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    place.append("default_startup_timeout=1")
    assert doctor.main([], place.root, place.bin_dir) == 0
    assert capsys.readouterr().out.endswith("0 errors, 1 warnings\n")
