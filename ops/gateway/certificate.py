"""Make a self-signed certificate to try the gateway on one machine; on a network use one from your authority."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

VALID_DAYS = 30


def make_certificate(certificate: Path, private_key: Path, names: Iterable[str]) -> None:
    """Write a certificate for some host names and the private key that belongs to it.

    Args:
        certificate: PEM, readable by all.
        private_key: PEM, readable by its owner only.
        names: host names and addresses, at least one; `[::1]` for an IPv6 address.

    Raises:
        FileExistsError: one of the files is there; it is not touched.
    """
    # Only here: a gateway whose certificate comes from elsewhere needs no such package.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    for path in (certificate, private_key):
        if path.exists():
            raise FileExistsError(f"{path} is there already; remove it first if it is not needed")
        path.parent.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [_general_name(x509, name.strip("[]")) for name in names]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "disaster-tweets gateway, for trying")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        # No authority: a client that trusts it trusts this certificate alone, and nothing signed by its key.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made_files: list[Path] = []
    try:
        for path, mode, content in (
            (private_key, 0o600, secret),
            (certificate, 0o644, made.public_bytes(serialization.Encoding.PEM)),
        ):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as output:
                made_files.append(path)
                output.write(content)
                output.flush()
                os.fsync(output.fileno())
    except BaseException:
        for path in made_files:  # half a pair would be in the way of the next try
            path.unlink(missing_ok=True)
        raise


def _general_name(x509, name: str):  # type: ignore[no-untyped-def]  # the module is imported late
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
