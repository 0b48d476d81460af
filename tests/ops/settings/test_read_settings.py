"""config.properties is read by every script as Java reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.settings.server import SettingsError, read_settings


@pytest.mark.parametrize(
    "line",
    [
        "inference_address=http://127.0.0.1:9999",
        "inference_address: http://127.0.0.1:9999",
        "inference_address http://127.0.0.1:9999",
        "  inference_address\t=\thttp\\://127.0.0.1\\:9999  ",
        "inference_address=http://\\\n    127.0.0.1:9999",
        "inference_address=http://127.0.0.1:1\rinference_address=http://127.0.0.1:9999",
        "\\u0069nference_address=http://127.0.0.1:9999",
        "# \u00e4\u2028inference_address=http://127.0.0.1:1\ninference_address=http://127.0.0.1:9999",
        "inference_address=http://0.0.0.0:9999",
    ],
)
def test_read_settings_when_written_in_any_of_javas_ways_then_the_same_address(tmp_path: Path, line: str) -> None:
    (tmp_path / "config.properties").write_text(line + "\n", encoding="utf-8", newline="")
    found = read_settings(tmp_path).inference
    assert (found.host, found.port) == ("127.0.0.1", 9999)


def test_read_settings_when_grpc_has_an_address_then_that_one(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("grpc_inference_address=192.0.2.7\ngrpc_inference_port=7\n")
    found = read_settings(tmp_path).grpc
    assert (found.host, found.port) == ("192.0.2.7", 7)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "\u0663", "9" * 5000])
@pytest.mark.parametrize("key", ["grpc_inference_port", "inference_address"])
def test_read_settings_when_a_port_is_none_then_named(tmp_path: Path, key: str, port: str) -> None:
    value = port if key.endswith("port") else f"http://127.0.0.1:{port}"
    (tmp_path / "config.properties").write_text(f"{key}={value}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=key):
        read_settings(tmp_path)
