"""The gateway's settings, checked before anything starts."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from ops.settings.server import Address

TARGET_FILE = "target.json"  # in the run folder; disaster-tweets rollout writes it
TARGET_ADDRESSES = ("server_rest", "server_management", "server_grpc")
DEFAULT_FILE = Path("deploy/gateway/gateway.yaml")
SOCKET_PATH_LIMIT_BYTES = 107  # Linux: sun_path holds 108 with the closing NUL
LONGEST_SOCKET = "inner_grpc.sock"
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
# Paths stand in double quotes in nginx.conf. There these have a meaning, and `$` cannot be escaped.
_UNSAFE_PATH = re.compile(r'["\\$\x00-\x1f\x7f\ud800-\udfff]')
ENVIRONMENT_PREFIX = "GATEWAY_"
_OPTIONAL = ("grpc_address", "client_ca")
_PATHS = ("certificate", "private_key", "client_ca", "keys_file", "golden_file", "run_folder", "access_log")
_ADDRESSES = ("rest_address", "grpc_address", "server_rest", "server_management", "server_grpc")
_NUMBERS: dict[str, tuple[float, float]] = {
    "max_body_bytes": (1024, 1 << 30),
    "address_requests_per_s": (1, 1_000_000),
    "address_burst": (1, 1_000_000),
    "address_connections": (1, 60_000),
    "key_requests_per_s": (1, 1_000_000),
    "key_burst": (1, 1_000_000),
    "header_timeout_s": (1, 600),
    "body_timeout_s": (1, 600),
    "send_timeout_s": (1, 600),
    "deadline_s": (1, 600),
    "recover_wait_s": (0, 600),
    "golden_deadline_s": (0.1, 600),
    "golden_every_s": (0, 600),
    "workers": (1, 64),
}


_REST, _GRPC, _SERVER_REST, _SERVER_MANAGEMENT, _SERVER_GRPC = (
    Address(name, "127.0.0.1", port) for name, port in zip(_ADDRESSES, (8443, 8444, 8080, 8081, 7070), strict=True)
)


class GatewaySettingsError(ValueError):
    """gateway.yaml cannot be used; the message says which key, what was found and what is expected."""


@dataclass(frozen=True)
class GatewaySettings:
    """What deploy/gateway/gateway.yaml says; the keys are explained there, and the defaults are the same.

    Args:
        host_names: the names a request may use, in lower case; empty allows any.
        certificate: `read_gateway_settings` makes this and every other path absolute.
        client_ca: None asks no client for a certificate.
        grpc_address: None has no gRPC.
    """

    rest_address: Address = _REST
    grpc_address: Address | None = _GRPC
    host_names: tuple[str, ...] = ("localhost", "127.0.0.1")
    trusted_proxies: tuple[str, ...] = ()
    certificate: Path = Path(".run/gateway/certificate.pem")
    private_key: Path = Path(".run/gateway/private_key.pem")
    client_ca: Path | None = None
    keys_file: Path = Path(".run/gateway/keys.json")
    server_rest: Address = _SERVER_REST
    server_management: Address = _SERVER_MANAGEMENT
    server_grpc: Address = _SERVER_GRPC
    golden_file: Path = Path("model_store/tweets.golden.json")
    max_body_bytes: int = 6_553_500
    address_requests_per_s: int = 500
    address_burst: int = 1000
    address_connections: int = 256
    key_requests_per_s: int = 500
    key_burst: int = 1000
    header_timeout_s: int = 5
    body_timeout_s: int = 5
    send_timeout_s: int = 10
    deadline_s: int = 30
    recover_wait_s: int = 20
    golden_deadline_s: float = 5
    golden_every_s: float = 5
    workers: int = 2
    run_folder: Path = Path(".run/gateway")
    access_log: Path = Path(".run/gateway/access.log")

    @property
    def guard_socket(self) -> Path:
        """Where nginx asks about keys and readiness."""
        return self.run_folder / "guard.sock"


def read_gateway_settings(file: Path, root: Path) -> GatewaySettings:
    """Read and check a settings file, over the defaults and under the environment.

    Args:
        file: YAML; a key of `GatewaySettings` that it does not have keeps its default. A variable such as
            GATEWAY_HOST_NAMES, whose value is YAML too, counts in place of what the file says.
        root: relative paths start here.

    Raises:
        GatewaySettingsError: no file, no mapping, an unknown key, a value out of range.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GatewaySettingsError(f"no settings file {file}; expected one such as {DEFAULT_FILE}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GatewaySettingsError(f"{file} is no YAML: {error}") from None
    known = [entry.name for entry in fields(GatewaySettings)]
    if not isinstance(values, dict):
        raise GatewaySettingsError(f"{file} holds no mapping; expected some of the keys {known}")
    unknown = sorted(set(map(str, values)) - set(known))
    if unknown:
        raise GatewaySettingsError(f"{file}: unknown keys {unknown}; see {DEFAULT_FILE}")
    defaults, root, read = GatewaySettings(), root.resolve(), {}
    for name in known:
        variable, default = ENVIRONMENT_PREFIX + name.upper(), getattr(defaults, name)
        if variable in os.environ:
            read[name] = _read(f"environment: {variable}", name, _yaml_value(variable), root)
        elif name in values:
            read[name] = _read(f"{file}: {name}", name, values[name], root)
        elif isinstance(default, Path):
            read[name] = _read(f"{file}: {name}", name, str(default), root)
    settings = replace(defaults, **read)
    settings = _with_target(settings, root)
    longest = settings.run_folder / LONGEST_SOCKET
    if len(str(longest).encode()) > SOCKET_PATH_LIMIT_BYTES:
        raise GatewaySettingsError(
            f"{file}: run_folder is {settings.run_folder}; a socket in it would have a path of more than "
            f"{SOCKET_PATH_LIMIT_BYTES} bytes; take a shorter one"
        )
    return settings


def _with_target(settings: GatewaySettings, root: Path) -> GatewaySettings:
    """Return settings with the server to which disaster-tweets rollout has switched; it wins over the settings file."""
    path = settings.run_folder / TARGET_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        rest, management, grpc = (_address(name, values[name]) for name in TARGET_ADDRESSES)
        golden_file = root / values["golden_file"]
    except FileNotFoundError:
        return settings
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise GatewaySettingsError(
            f"{path} names no server ({error}); expected what disaster-tweets rollout writes; remove it to take the "
            "server of the settings file"
        ) from None
    return replace(settings, server_rest=rest, server_management=management, server_grpc=grpc, golden_file=golden_file)


def settings_text(settings: GatewaySettings) -> str:
    """Return settings as a file of every key, for `read_gateway_settings` again."""
    values = {entry.name: _plain(getattr(settings, entry.name)) for entry in fields(settings)}
    return str(yaml.safe_dump(values, allow_unicode=True))


def _plain(value: object) -> object:
    if isinstance(value, Address):
        return f"{value.host}:{value.port}"
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _yaml_value(variable: str) -> Any:
    try:
        return yaml.safe_load(os.environ[variable])
    except yaml.YAMLError:
        raise GatewaySettingsError(
            f"environment: {variable} is no YAML; expected a value as in {DEFAULT_FILE}"
        ) from None


def _read(where: str, name: str, value: Any, root: Path) -> Any:
    if value in (None, "") and name in _OPTIONAL:
        return None
    try:
        if name in _ADDRESSES:
            return _address(name, value)
        if name in _PATHS:
            return _path(value, root)
        if name == "host_names":
            return _host_names(value)
        if name == "trusted_proxies":
            return _networks(value)
        return _number(name, value)
    except ValueError as error:
        raise GatewaySettingsError(f"{where} is {value!r}; expected {error}") from None


def _address(name: str, value: Any) -> Address:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not _HOST_NAME.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443")
    return Address(name, host, int(port))


def _path(value: Any, root: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("a path")
    if _UNSAFE_PATH.search(str(root / value)):
        raise ValueError(f"a path without quotes, backslashes, $ and control characters; it is {str(root / value)!r}")
    return root / value


def _networks(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError("a list of addresses and networks, such as [10.0.0.0/8]")
    return tuple(str(ipaddress.ip_network(entry)) for entry in value)


def _host_names(value: Any) -> tuple[str, ...]:
    names = [name for name in value if isinstance(name, str)] if isinstance(value, list) else [""]
    if (isinstance(value, list) and len(names) < len(value)) or not all(map(_HOST_NAME.fullmatch, names)):
        raise ValueError("a list of host names without ports")
    return tuple(name.lower() for name in names)


def _number(name: str, value: Any) -> int | float:
    low, high = _NUMBERS[name]
    kinds = (int, float) if name.startswith("golden_") else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise ValueError(f"{'a number' if len(kinds) > 1 else 'a whole number'} from {low:g} to {high:g}")
    return value
