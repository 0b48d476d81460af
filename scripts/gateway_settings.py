"""The gateway's settings, checked before anything starts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from server_settings import Address

TARGET_FILE = "target.json"  # in the run folder; scripts/rollout.py writes it
TARGET_ADDRESSES = ("server_rest", "server_management", "server_grpc")
DEFAULT_FILE = Path("deploy/gateway/gateway.yaml")
SOCKET_PATH_LIMIT_BYTES = 107  # Linux: sun_path holds 108 with the closing NUL
LONGEST_SOCKET = "inner_grpc.sock"
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_UNSAFE_PATH = re.compile(r"[^\w./@%+=:,-]")  # no quoting in nginx.conf to get wrong
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


class GatewaySettingsError(ValueError):
    """gateway.yaml cannot be used; the message says which key, what was found and what is expected."""


@dataclass(frozen=True)
class GatewaySettings:
    """What deploy/gateway/gateway.yaml says; the keys are explained there.

    Args:
        host_names: the names a request may use, in lower case; empty allows any.
        certificate: this and every other path is absolute.
        client_ca: None asks no client for a certificate.
        grpc_address: None has no gRPC.
    """

    rest_address: Address
    grpc_address: Address | None
    host_names: tuple[str, ...]
    certificate: Path
    private_key: Path
    client_ca: Path | None
    keys_file: Path
    server_rest: Address
    server_management: Address
    server_grpc: Address
    golden_file: Path
    max_body_bytes: int
    address_requests_per_s: int
    address_burst: int
    address_connections: int
    key_requests_per_s: int
    key_burst: int
    header_timeout_s: int
    body_timeout_s: int
    send_timeout_s: int
    deadline_s: int
    recover_wait_s: int
    golden_deadline_s: float
    golden_every_s: float
    workers: int
    run_folder: Path
    access_log: Path

    @property
    def guard_socket(self) -> Path:
        """Where nginx asks about keys and readiness."""
        return self.run_folder / "guard.sock"


def read_gateway_settings(file: Path, root: Path) -> GatewaySettings:
    """Read and check a settings file.

    Args:
        file: YAML, every key of `GatewaySettings` in it.
        root: relative paths start here.

    Raises:
        GatewaySettingsError: no file, no mapping, an unknown or missing key, a value out of range.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GatewaySettingsError(f"no settings file {file}; expected one such as {DEFAULT_FILE}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GatewaySettingsError(f"{file} is no YAML: {error}") from None
    known = [entry.name for entry in fields(GatewaySettings)]
    if not isinstance(values, dict):
        raise GatewaySettingsError(f"{file} holds no mapping; expected the keys {known}")
    unknown, missing = sorted(set(map(str, values)) - set(known)), [name for name in known if name not in values]
    if unknown or missing:
        raise GatewaySettingsError(f"{file}: unknown keys {unknown}, missing keys {missing}; see {DEFAULT_FILE}")
    settings = GatewaySettings(**{name: _read(file, name, values[name], root.resolve()) for name in known})
    settings = _with_target(settings, root.resolve())
    longest = settings.run_folder / LONGEST_SOCKET
    if len(str(longest).encode()) > SOCKET_PATH_LIMIT_BYTES:
        raise GatewaySettingsError(
            f"{file}: run_folder is {settings.run_folder}; a socket in it would have a path of more than "
            f"{SOCKET_PATH_LIMIT_BYTES} bytes; take a shorter one"
        )
    return settings


def _with_target(settings: GatewaySettings, root: Path) -> GatewaySettings:
    """Return settings with the server to which scripts/rollout.py has switched; it wins over the settings file."""
    path = settings.run_folder / TARGET_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        rest, management, grpc = (_address(name, values[name]) for name in TARGET_ADDRESSES)
        golden_file = root / values["golden_file"]
    except FileNotFoundError:
        return settings
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise GatewaySettingsError(
            f"{path} names no server ({error}); expected what scripts/rollout.py writes; remove it to take the server "
            "of the settings file"
        ) from None
    return replace(settings, server_rest=rest, server_management=management, server_grpc=grpc, golden_file=golden_file)


def _read(file: Path, name: str, value: Any, root: Path) -> Any:
    if value in (None, "") and name in _OPTIONAL:
        return None
    try:
        if name in _ADDRESSES:
            return _address(name, value)
        if name in _PATHS:
            return _path(value, root)
        if name == "host_names":
            return _host_names(value)
        return _number(name, value)
    except ValueError as error:
        raise GatewaySettingsError(f"{file}: {name} is {value!r}; expected {error}") from None


def _address(name: str, value: Any) -> Address:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not _HOST_NAME.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443")
    return Address(name, host, int(port))


def _path(value: Any, root: Path) -> Path:
    if not isinstance(value, str) or not value or _UNSAFE_PATH.search(value):
        raise ValueError("a path of letters, digits and ./@%+=:,-_")
    return root / value


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
