"""A whole gateway in miniature beside an installation, and the ways to break its files that the doctor must find."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Protocol

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.gateway.keys import create_key
from ops.settings.properties import read_properties

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = Path("deploy/gateway/gateway.yaml")


class Place(Protocol):
    """What a gateway is put beside: see Installation."""

    root: Path
    variables: dict[str, str]


@dataclass(frozen=True)
class Gateway:
    """The files of one gateway."""

    settings: Path
    certificate: Path
    private_key: Path
    keys: Path


def write_certificate(
    certificate: Path, private_key: Path, begins_in_days: float = -1, ends_in_days: float = 90
) -> None:
    """Write a self-signed pair, valid between two days counted from now."""
    now, key = datetime.now(timezone.utc), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins_in_days))
        .not_valid_after(now + timedelta(days=ends_in_days))
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    private_key.chmod(0o600)


def add_gateway(place: Place) -> Gateway:
    """Set up a gateway with which nothing is wrong: a good certificate and one API key."""
    settings = place.root / SETTINGS
    settings.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / SETTINGS, settings)
    folder = place.root / "secrets"
    folder.mkdir()
    values = yaml.safe_load(settings.read_text(encoding="utf-8"))
    gateway = Gateway(settings, folder / "certificate.pem", folder / "private_key.pem", folder / "keys.json")
    listeners = {
        entry.key: entry.value for entry in read_properties((place.root / "config.properties").read_text("utf-8"))
    }
    values |= {
        "certificate": str(gateway.certificate),
        "private_key": str(gateway.private_key),
        "keys_file": str(gateway.keys),
        "server_rest": listeners["inference_address"].removeprefix("http://"),
        "server_management": listeners["management_address"].removeprefix("http://"),
        "server_grpc": f"127.0.0.1:{listeners['grpc_inference_port']}",
        "run_folder": "/tmp/gw",
    }
    settings.write_text(yaml.safe_dump(values), encoding="utf-8")
    write_certificate(gateway.certificate, gateway.private_key)
    create_key(gateway.keys, "test")
    return gateway


def _gateway(change: Callable[[Gateway], object]) -> Callable[[Place], None]:
    return lambda place: (change(add_gateway(place)), None)[1]


def _dates(begins_in_days: float, ends_in_days: float) -> Callable[[Place], None]:
    return _gateway(
        lambda gateway: write_certificate(gateway.certificate, gateway.private_key, begins_in_days, ends_in_days)
    )


def _other_key(gateway: Gateway) -> None:
    write_certificate(gateway.certificate.with_name("other.pem"), gateway.private_key)


def _encrypted(gateway: Gateway) -> None:
    key = serialization.load_pem_private_key(gateway.private_key.read_bytes(), None)
    gateway.private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a passphrase"),
        )
    )


def _key_field(**fields: str) -> Callable[[Place], None]:
    def change(gateway: Gateway) -> None:
        (entry,) = json.loads(gateway.keys.read_text(encoding="utf-8"))
        gateway.keys.write_text(json.dumps([{**entry, **fields}]), encoding="utf-8")

    return _gateway(change)


def _named_and_missing(place: Place) -> None:
    place.variables["GATEWAY_SETTINGS"] = str(place.root / "none.yaml")


def _client_ca(gateway: Gateway) -> None:
    values = yaml.safe_load(gateway.settings.read_text(encoding="utf-8"))
    gateway.settings.write_text(yaml.safe_dump({**values, "client_ca": "secrets/ca.pem"}), encoding="utf-8")


def _moment(days: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(days=days)).isoformat(timespec="seconds")


# What is wrong, how to do it, part of the finding's place, its severity.
BROKEN_GATEWAYS: tuple[tuple[str, Callable[[Place], None], str, str], ...] = (
    ("no certificate", _gateway(lambda one: one.certificate.unlink()), "certificate.pem", "error"),
    ("a certificate that ended", _dates(-9, -2), "certificate.pem", "error"),
    ("a certificate that begins tomorrow", _dates(1, 90), "certificate.pem", "error"),
    ("a certificate that ends soon", _dates(-80, 5), "certificate.pem", "warning"),
    ("a certificate that is none", _gateway(lambda one: one.certificate.write_text("x")), "certificate.pem", "error"),
    ("no private key", _gateway(lambda one: one.private_key.unlink()), "private_key.pem", "error"),
    ("the key of another certificate", _gateway(_other_key), "private_key.pem", "error"),
    ("a key that others read", _gateway(lambda one: one.private_key.chmod(0o644)), "private_key.pem", "error"),
    ("a key with a passphrase", _gateway(_encrypted), "private_key.pem", "error"),
    ("a key that is none", _gateway(lambda one: one.private_key.write_text("x")), "private_key.pem", "error"),
    ("no authority of the clients", _gateway(_client_ca), "client_ca", "error"),
    ("no file of API keys", _gateway(lambda one: one.keys.unlink()), "keys.json", "error"),
    ("a broken file of API keys", _gateway(lambda one: one.keys.write_text("{")), "keys.json", "error"),
    ("an empty file of API keys", _gateway(lambda one: one.keys.write_text("[]")), "keys.json", "error"),
    ("API keys that others write", _gateway(lambda one: one.keys.chmod(0o666)), "keys.json", "error"),
    ("an API key that expired", _key_field(expires=_moment(-1)), "keys.json", "error"),
    ("an API key that was revoked", _key_field(revoked=_moment(-1)), "keys.json", "error"),
    ("API keys that expire soon", _key_field(expires=_moment(3)), "keys.json", "warning"),
    ("settings of the gateway that are named and missing", _named_and_missing, "none.yaml", "error"),
)
