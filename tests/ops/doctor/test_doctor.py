"""The doctor on whole and on broken installations."""

from __future__ import annotations

import json
import os
import re
import resource
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hardened.build_agent import torchserve_jar
from ops.doctor import commands as doctor
from ops.doctor import machine as doctor_machine
from ops.doctor import model_config as doctor_model_config
from ops.doctor.properties import KNOWN, check_properties
from ops.settings.server import SettingsError, require_own_protocol
from tests.conftest import ROOT
from tests.ops.doctor.broken_configurations import (
    BROKEN,
    Broken,
    Installation,
    make_broken,
    make_installation,
    other_torchserve,
    taken_port,
)
from tests.ops.doctor.broken_gateways import add_gateway


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TorchServe of the machine must not be found."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TEMP", str(tmp_path / "tmp"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in ("TS_CONFIG_FILE", "TS_OPEN_INFERENCE_PROTOCOL", "GATEWAY_SETTINGS", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)


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
    assert told.fix
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
    assert "metrics_address" in told.fix


def test_examine_when_another_torchserve_has_the_temporary_folder_then_says_so(
    place: Installation, tmp_path: Path
) -> None:
    with other_torchserve(tmp_path):
        (told,) = place.examine()
    assert told.where == "TMPDIR"
    assert "make serve" in told.fix


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


def test_examine_when_a_gateway_is_set_up_well_then_finds_nothing(place: Installation) -> None:
    add_gateway(place)
    assert place.examine() == []


def test_examine_when_a_server_starts_then_the_gateways_files_do_not_stop_it(place: Installation) -> None:
    add_gateway(place).certificate.unlink()
    place.variables["GATEWAY_SETTINGS"] = "none.yaml"
    assert doctor.examine(place.root, place.bin_dir, place.variables, with_ports=False) == []


@pytest.mark.parametrize("by_option", [True, False])
def test_main_when_the_gateway_has_settings_elsewhere_then_these_are_examined(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by_option
) -> None:
    gateway = add_gateway(place)
    elsewhere = tmp_path / "elsewhere.yaml"
    text = gateway.settings.read_text(encoding="utf-8").replace(str(gateway.certificate), "secrets/none.pem")
    elsewhere.write_text(text, encoding="utf-8")
    if not by_option:
        monkeypatch.setenv("GATEWAY_SETTINGS", str(elsewhere))
    options = ["--settings", str(elsewhere)] if by_option else []
    assert doctor.main(options, place.root, place.bin_dir) == 1
    assert "none.pem: missing" in capsys.readouterr().out


def test_examine_when_the_pid_file_is_another_users_then_says_whose(place: Installation, tmp_path: Path) -> None:
    (tmp_path / "tmp" / ".model_server.pid").touch()
    place.user += 1
    (told,) = place.examine()
    assert ".model_server.pid" in told.where
    assert "another user" in told.found


def test_main_when_the_user_is_root_then_warns(
    place: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert doctor.main([], place.root, place.bin_dir) == 0
    assert "warning: user: root" in capsys.readouterr().out


def test_examine_when_few_files_may_be_open_then_warns(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    add_gateway(place)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert [told.where for told in place.examine()] == ["open files", "gateway: open files"]


def test_examine_when_a_file_may_not_be_read_then_that_is_a_finding(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", "secrets/private_key.pem")

    monkeypatch.setattr(doctor, "check_leftovers", lambda _: (refuse(one) for one in "x"))
    (told,) = place.examine()
    assert (told.where, told.severity) == ("secrets/private_key.pem", "error")
    assert "Permission denied" in told.found


@pytest.mark.parametrize("value", ["", " ", "kserve", "OIP", "0"])
def test_examine_when_open_inference_is_set_then_the_doctor_says_what_a_start_says(
    place: Installation, value: str
) -> None:
    place.variables["TS_OPEN_INFERENCE_PROTOCOL"] = value
    try:
        require_own_protocol(place.variables, place.root)
    except SettingsError:
        (told,) = place.examine()
        assert (told.where, told.severity) == ("TS_OPEN_INFERENCE_PROTOCOL", "error")
    else:
        assert place.examine() == []


def test_examine_when_the_servers_home_is_this_torchserve_then_nothing_is_wrong(place: Installation) -> None:
    place.variables["TS_MODEL_SERVER_HOME"] = str(torchserve_jar().parents[2])
    assert place.examine() == []


def test_examine_when_workers_have_more_threads_than_the_quota_then_warns(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.replace("handler/model-config.yaml", "torch_threads: 0", "torch_threads: 2")
    monkeypatch.setattr(doctor_model_config, "usable_cores", lambda: 4)
    assert not [told for told in place.examine() if "torch_threads" in told.where]
    monkeypatch.setattr(doctor_model_config, "usable_cores", lambda: 2)
    assert [told for told in place.examine() if "torch_threads" in told.where]


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
