"""Lint the gateway's settings, alone and against those of the server behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ops.doctor.findings import Finding, error, warning
from ops.doctor.properties import is_loopback
from ops.gateway.settings import GatewaySettingsError, read_gateway_settings
from ops.settings.server import Settings

FILE = Path("deploy/gateway/gateway.yaml")
MAX_REQUEST_BYTES = "6553500"  # TorchServe's default
BEHIND = {"server_rest": "inference", "server_management": "management", "server_grpc": "grpc"}


def check_gateway(
    root: Path, settings: Settings | None, values: Mapping[str, str], file: Path | None = None
) -> list[Finding]:
    """Return what is wrong with the gateway's settings.

    Args:
        root: the folder of the project.
        settings: the server's listeners, where config.properties could be read.
        values: all of config.properties.
        file: the gateway's settings; None takes those of the project, where there are some.
    """
    path, name = (root / FILE, str(FILE)) if file is None else (file, str(file))
    if not path.is_file():
        fix = "name the file with --settings or GATEWAY_SETTINGS"
        return [] if file is None else [error(name, "no such file", "the gateway's settings", fix)]
    try:
        gateway = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        return [error(name, f"no YAML ({' '.join(str(wrong).split())[:120]})", "keys and values", "correct it")]
    if not isinstance(gateway, dict):
        return [error(name, f"a {type(gateway).__name__}", "keys and values", "correct it")]
    return [*_as_the_gateway_reads_it(path, name, root), *_against_the_server(gateway, name, settings, values)]


def _as_the_gateway_reads_it(path: Path, name: str, root: Path) -> Iterator[Finding]:
    try:
        read_gateway_settings(path, root)
    except GatewaySettingsError as wrong:
        yield error(name, str(wrong), "settings that the gateway takes", "correct it")


def _against_the_server(
    gateway: Mapping[Any, Any], file: str, settings: Settings | None, values: Mapping[str, str]
) -> Iterator[Finding]:
    for key, name in BEHIND.items():
        if settings is None or not isinstance(gateway.get(key), str):
            continue
        address = getattr(settings, name)
        host, _, port = gateway[key].rpartition(":")
        if is_loopback(host) and port != str(address.port):
            yield warning(
                f"{file}: {key}",
                f"{gateway[key]}, and config.properties has {address.host}:{address.port}",
                "the same; disaster-tweets rollout switches without a change of this file",
                "make them agree",
            )
    limit = values.get("max_request_size", MAX_REQUEST_BYTES)
    if isinstance(gateway.get("max_body_bytes"), int) and limit.isdecimal() and gateway["max_body_bytes"] > int(limit):
        yield warning(
            f"{file}: max_body_bytes",
            f"{gateway['max_body_bytes']}, and the server takes {limit} (max_request_size)",
            "no more than the server takes",
            f"set it to {limit}",
        )
