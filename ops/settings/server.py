"""Read from config.properties and the archive what a running server must be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ops.settings.properties import read_values

ARCHIVE = Path("model_store/tweets.mar")
MANIFEST = Path("model_store/tweets.manifest.json")
GOLDEN = Path("model_store/tweets.golden.json")
CONFIG = Path("config.properties")
LOGGING = Path("log4j2.xml")
# TorchServe's defaults. Source: TorchServe 0.12, docs/configuration.md
DEFAULT_ADDRESSES = {
    "inference_address": "http://127.0.0.1:8080",
    "management_address": "http://127.0.0.1:8081",
    "metrics_address": "http://127.0.0.1:8082",
}
DEFAULT_PORTS = {"grpc_inference_port": "7070", "grpc_management_port": "7071"}
GRPC_HOSTS = {"grpc_inference_port": "grpc_inference_address", "grpc_management_port": "grpc_management_address"}
# With it TorchServe turns bytes into base64 before the handler sees them: wrong answers.
# Source: TorchServe 0.12, util/ConfigManager.java, isOpenInferenceProtocol
OPEN_INFERENCE = "TS_OPEN_INFERENCE_PROTOCOL"
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
    values = {**DEFAULT_ADDRESSES, **DEFAULT_PORTS, **read_config(root)}
    addresses = [_rest_address(name, values[name]) for name in DEFAULT_ADDRESSES]
    for name, host_key in GRPC_HOSTS.items():
        addresses.append(Address(name, _asked_host(values.get(host_key, "")), _port(name, values[name])))
    return Settings(tuple(addresses))


def read_config(root: Path) -> dict[str, str]:
    """Return every key and value of config.properties, as Java reads them.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        # Java reads it in this encoding. Source: java.util.Properties, load(InputStream)
        return read_values((root / CONFIG).read_text(encoding="iso-8859-1"))
    except FileNotFoundError:
        raise SettingsError(f"no {CONFIG} in {root}; expected TorchServe's settings; restore it from git") from None
    except OSError as error:
        raise SettingsError(
            f"{root / CONFIG} cannot be read ({error.strerror}); expected TorchServe's settings"
        ) from None


def require_own_protocol(environment: Mapping[str, str], root: Path) -> None:
    """Refuse TorchServe's Open Inference mode, in which answers are wrong.

    Args:
        environment: variables with which the server would be started.
        root: holds config.properties.

    Raises:
        SettingsError: a variable or a line of config.properties turns it on.
    """
    found = environment.get(OPEN_INFERENCE, "")
    if found.strip():
        raise SettingsError(
            f"{OPEN_INFERENCE}={found}; expected it unset: TorchServe would change each text before the model reads "
            f"it, and the handler speaks Open Inference without it. Do this: unset {OPEN_INFERENCE}"
        )
    key = OPEN_INFERENCE.lower()
    found = read_config(root).get(key, "false")
    if found.lower() not in ("false", ""):
        raise SettingsError(
            f"{CONFIG}: {key}={found}; expected false: TorchServe would change each text before the model reads it, "
            "and the handler speaks Open Inference without it. Remove the line"
        )


def _asked_host(host: str) -> str:
    """Return the host at which a listener is asked: one that listens everywhere is asked on this machine."""
    plain = host.strip("[]")
    return "127.0.0.1" if plain in EVERYWHERE else plain


def _rest_address(name: str, value: str) -> Address:
    url = urlsplit(value)
    if url.scheme != "http":
        raise SettingsError(
            f"{CONFIG}: {name}={value}; `make serve` checks its server over http; start one with https yourself: "
            "torchserve --start --model-store model_store --models tweets.mar"
        )
    try:
        port = 80 if url.port is None else url.port
    except ValueError:
        port = 0
    if not port:
        raise SettingsError(f"{CONFIG}: {name}={value}; expected http://ADDRESS:PORT")
    return Address(name, _asked_host(url.hostname or ""), port)


def _port(name: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or not 0 < int(value[:6]) < 1 << 16:
        raise SettingsError(f"{CONFIG}: {name}={value}; expected a number from 1 to 65535")
    return int(value)
