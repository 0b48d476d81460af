"""The settings file of the gateway: a typing error never passes in silence."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.gateway.config import FOLDER, OPENAPI, render_config
from ops.gateway.settings import GatewaySettings, GatewaySettingsError, read_gateway_settings, settings_text
from tests.ops.gateway.gateway_process import DEFAULTS, REPOSITORY


def test_defaults_when_read_then_loopback_only_and_as_large_as_the_server_allows() -> None:
    settings = read_gateway_settings(DEFAULTS, REPOSITORY)
    assert settings.rest_address.host == "127.0.0.1"
    assert settings.grpc_address is not None
    assert settings.grpc_address.host == "127.0.0.1"
    properties = (REPOSITORY / "config.properties").read_text()
    assert f"max_request_size={settings.max_body_bytes}\n" in properties
    assert settings.run_folder == REPOSITORY / ".run/gateway"
    assert settings.client_ca is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rest_address", "8443"),
        ("rest_address", "127.0.0.1:0"),
        ("rest_address", "127.0.0.1:65536"),
        ("rest_address", "127.0.0.1; return 200:1"),
        ("rest_address", None),
        ("grpc_address", "a b:1"),
        ("server_rest", 8080),
        ("certificate", '/tmp/a"b'),
        ("certificate", "/tmp/a\\b"),
        ("certificate", "/tmp/a\nb"),
        ("trusted_proxies", "10.0.0.0/8"),
        ("trusted_proxies", ["10.0.0.1/8"]),
        ("trusted_proxies", ["all; return 200"]),
        ("keys_file", "/tmp/$http_x"),
        ("run_folder", "/tmp/" + "x" * 100),
        ("access_log", ""),
        ("host_names", "localhost"),
        ("host_names", ["a b"]),
        ("host_names", [1]),
        ("host_names", ["x;y"]),
        ("max_body_bytes", "1m"),
        ("max_body_bytes", 0),
        ("deadline_s", 0),
        ("deadline_s", True),
        ("deadline_s", 1.5),
        ("golden_deadline_s", "soon"),
        ("workers", 65),
    ],
)
def test_value_when_it_cannot_be_then_refused_with_key_and_expectation(tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(DEFAULTS.read_text()), name: value}))
    with pytest.raises(GatewaySettingsError, match=name):
        read_gateway_settings(file, REPOSITORY)


@pytest.mark.parametrize("content", ["", "[]", "a: b: c", "rest_adress: 127.0.0.1:1"])
def test_file_when_no_settings_then_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(content)
    with pytest.raises(GatewaySettingsError):
        read_gateway_settings(file, REPOSITORY)


def test_file_when_it_holds_differences_only_then_the_rest_is_default(tmp_path: Path) -> None:
    """A key that a later release brings must not break the files that are there."""
    file = tmp_path / "gateway.yaml"
    file.write_text("deadline_s: 7\ngrpc_address:\n")
    settings = read_gateway_settings(file, REPOSITORY)
    assert settings == replace(read_gateway_settings(DEFAULTS, REPOSITORY), deadline_s=7, grpc_address=None)


def test_committed_file_when_read_then_it_names_every_key_with_its_default(tmp_path: Path) -> None:
    assert set(yaml.safe_load(DEFAULTS.read_text())) == {entry.name for entry in fields(GatewaySettings)}
    empty = tmp_path / "gateway.yaml"
    empty.write_text("{}")
    assert read_gateway_settings(empty, REPOSITORY) == read_gateway_settings(DEFAULTS, REPOSITORY)


def test_variable_when_set_then_it_counts_in_place_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_HOST_NAMES", "[tweets.example.org]")
    monkeypatch.setenv("GATEWAY_WORKERS", "3")
    monkeypatch.setenv("GATEWAY_GRPC_ADDRESS", "")
    settings = read_gateway_settings(DEFAULTS, REPOSITORY)
    assert (settings.host_names, settings.workers, settings.grpc_address) == (("tweets.example.org",), 3, None)
    monkeypatch.setenv("GATEWAY_WORKERS", "many")
    with pytest.raises(GatewaySettingsError, match="environment: GATEWAY_WORKERS is 'many'"):
        read_gateway_settings(DEFAULTS, REPOSITORY)


def test_root_when_its_path_cannot_be_written_into_nginx_conf_then_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewaySettingsError, match="path without quotes"):
        read_gateway_settings(DEFAULTS, tmp_path / "a$b")


def test_root_when_its_name_looks_like_a_mark_of_a_template_then_written_as_it_is() -> None:
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:  # tmp_path may be too long for a socket
        root = Path(folder, "a @workers@ @b@")
        shutil.copytree(REPOSITORY / FOLDER, root / FOLDER)
        text = render_config(read_gateway_settings(root / "deploy/gateway/gateway.yaml", root), root)
    assert f'alias "{root / OPENAPI}";' in text
    assert f'pid "{root}/.run/gateway/nginx.pid";' in text


def test_settings_when_written_down_then_read_back_the_same(tmp_path: Path) -> None:
    # Not below tmp_path, which may be too long for a socket; nothing is made there.
    settings = replace(read_gateway_settings(DEFAULTS, Path("/tmp/prüfung 1")), trusted_proxies=("10.0.0.0/8",))
    file = tmp_path / "settings.yaml"
    file.write_text(settings_text(settings), encoding="utf-8")
    assert read_gateway_settings(file, REPOSITORY) == settings


def test_key_when_unknown_then_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump({"key_file": "x"}))
    with pytest.raises(GatewaySettingsError, match=r"unknown keys \['key_file'\]"):
        read_gateway_settings(file, REPOSITORY)
    with pytest.raises(GatewaySettingsError, match="no settings file"):
        read_gateway_settings(tmp_path / "none.yaml", REPOSITORY)
