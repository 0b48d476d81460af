"""The settings file of the gateway: a typing error never passes in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway_settings import GatewaySettingsError, read_gateway_settings
from tests.gateway.gateway_process import DEFAULTS, REPOSITORY


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
        ("certificate", "/tmp/a b"),
        ("certificate", "/tmp/a;b"),
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


def test_key_when_missing_or_unknown_then_refused_by_name(tmp_path: Path) -> None:
    values = yaml.safe_load(DEFAULTS.read_text())
    del values["keys_file"]
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump({**values, "key_file": "x"}))
    with pytest.raises(GatewaySettingsError, match=r"unknown keys \['key_file'\], missing keys \['keys_file'\]"):
        read_gateway_settings(file, REPOSITORY)
    with pytest.raises(GatewaySettingsError, match="no settings file"):
        read_gateway_settings(tmp_path / "none.yaml", REPOSITORY)
