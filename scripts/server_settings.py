"""Read from config.properties and the archive what a running server must be compared with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ARCHIVE = Path("model_store/tweets.mar")
MANIFEST = Path("model_store/tweets.manifest.json")
GOLDEN = Path("model_store/tweets.golden.json")
CONFIG = Path("config.properties")
LOGGING = Path("log4j2.xml")
CLASSES = Path("frontend/classes")
# TorchServe's defaults. Source: TorchServe 0.12, docs/configuration.md
DEFAULT_ADDRESSES = {
    "inference_address": "http://127.0.0.1:8080",
    "management_address": "http://127.0.0.1:8081",
    "metrics_address": "http://127.0.0.1:8082",
}
DEFAULT_PORTS = {"grpc_inference_port": "7070", "grpc_management_port": "7071"}
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not listened on


class SettingsError(RuntimeError):
    """config.properties or the archive cannot be served from here; the message says what to do."""


@dataclass(frozen=True)
class Address:
    """Where one of the server's listeners is."""

    name: str
    host: str
    port: int


@dataclass(frozen=True)
class Settings:
    """The five listeners, in the order inference, management, metrics, gRPC inference, gRPC management."""

    addresses: tuple[Address, ...]

    @property
    def inference(self) -> Address:
        """Where predictions are asked for over REST."""
        return self.addresses[0]

    @property
    def management(self) -> Address:
        """Where the state of a model is asked for."""
        return self.addresses[1]

    @property
    def metrics(self) -> Address:
        """Where Prometheus reads."""
        return self.addresses[2]

    @property
    def grpc(self) -> Address:
        """Where predictions are asked for over gRPC."""
        return self.addresses[3]


def read_settings(root: Path) -> Settings:
    """Read the listeners from config.properties.

    Args:
        root: the folder that holds config.properties.

    Raises:
        SettingsError: no file, or an address that this program cannot ask.
    """
    try:
        lines = (root / CONFIG).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise SettingsError(f"no {CONFIG} in {root}; expected TorchServe's settings; restore it from git") from None
    pairs = (line.split("=", 1) for line in map(str.strip, lines) if "=" in line and not line.startswith(("#", "!")))
    values = {**DEFAULT_ADDRESSES, **DEFAULT_PORTS, **{name.strip(): value.strip() for name, value in pairs}}
    addresses = [_rest_address(name, values[name]) for name in DEFAULT_ADDRESSES]
    addresses += [Address(name, "127.0.0.1", _port(name, values[name])) for name in DEFAULT_PORTS]
    return Settings(tuple(addresses))


def _rest_address(name: str, value: str) -> Address:
    url = urlsplit(value)
    if url.scheme != "http":
        raise SettingsError(
            f"{CONFIG}: {name}={value}; `make serve` checks its server over http; start one with https yourself: "
            "torchserve --start --model-store model_store --models tweets.mar"
        )
    try:
        port = url.port or 80
    except ValueError:
        raise SettingsError(f"{CONFIG}: {name}={value}; expected http://ADDRESS:PORT") from None
    host = url.hostname or ""
    return Address(name, "127.0.0.1" if host in EVERYWHERE else host, port)


def _port(name: str, value: str) -> int:
    if not value.isdecimal():
        raise SettingsError(f"{CONFIG}: {name}={value}; expected a number")
    return int(value)


def fingerprint(root: Path) -> str:
    """Return one hash over everything a server reads at its start: the archive and its settings.

    Args:
        root: the folder from which the server is started.

    Raises:
        SettingsError: there is no complete archive.
    """
    try:
        archive = json.loads((root / MANIFEST).read_text(encoding="utf-8"))["archive_sha256"]
    except (OSError, ValueError, KeyError):
        raise SettingsError(f"{MANIFEST} is missing or broken; build the archive: make archive") from None
    for path in (ARCHIVE, GOLDEN):
        if not (root / path).is_file():
            raise SettingsError(f"{path} is missing; build the archive: make archive")
    digest = hashlib.sha256(archive.encode())
    for path in (root / CONFIG, root / LOGGING, *sorted((root / CLASSES).rglob("*.class"))):
        digest.update(path.read_bytes() if path.is_file() else b"none")
    return digest.hexdigest()
