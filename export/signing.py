"""Sign an archive's manifest with this machine's ed25519 key, made at the first export.

The signature is over the manifest's bytes as they are in the file, so that no two programs need to agree on how JSON
is written; `openssl pkeyutl -verify -rawin` reads it as well. Who verifies: ops/archive/signature.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from export.archive import last_words

VERIFIER = "ops.archive.verify_archive"
VERIFIER_TIMEOUT_S = 120
KEYS = Path(".keys")
PRIVATE_KEY = "signing.pem"
TRUSTED = "trusted"
PUBLIC_KEY = "this-machine.pem"


class SigningError(RuntimeError):
    """The archive cannot be signed; the message says which file is at fault."""


def sign(manifest: Path, keys: Path) -> Path:
    """Write the signature of a manifest into the same folder.

    Args:
        manifest: the file to sign; its signature is `NAME.sig` with `.json` taken away.
        keys: folder of the private key; a key pair is made there when there is none, and its public half is trusted.

    Returns:
        The signature's file: 64 raw bytes.

    Raises:
        SigningError: the key is unreadable, no ed25519 key, or open to others.
    """
    signature = signature_path(manifest)
    signature.write_bytes(_private_key(keys).sign(manifest.read_bytes()))
    return signature


def signature_path(manifest: Path) -> Path:
    """Return where the signature of a manifest is: in the same folder."""
    return manifest.with_suffix(".sig")


def is_signed(manifest: Path, keys: Path) -> bool:
    """Tell whether this machine's key signed a manifest as it is now."""
    try:
        key = _read_key(keys / PRIVATE_KEY)
        key.public_key().verify(signature_path(manifest).read_bytes(), manifest.read_bytes())
    except (OSError, InvalidSignature, SigningError):
        return False
    return True


def prove(archive: Path, keys: Path) -> None:
    """Let the program that verifies before serving say that it takes what was just signed.

    Raises:
        SigningError: it refuses; the message is its own.
    """
    command = [sys.executable, "-m", VERIFIER, str(archive), "--trusted-keys", str(keys / TRUSTED)]
    try:
        result = subprocess.run(command, capture_output=True, timeout=VERIFIER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SigningError(
            f"the signed archive was not verified within {VERIFIER_TIMEOUT_S} s; expected some seconds: is this "
            "machine busy? Try again"
        ) from error
    if result.returncode != 0:
        raise SigningError(f"the signed archive does not pass its own verification: {last_words(result)}")


def _private_key(keys: Path) -> Ed25519PrivateKey:
    path = keys / PRIVATE_KEY
    if not path.exists():
        _make_private_key(path)
    key = _read_key(path)
    public = keys / TRUSTED / PUBLIC_KEY
    if not public.exists():
        public.parent.mkdir(exist_ok=True)
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key


def _read_key(path: Path) -> Ed25519PrivateKey:
    if path.stat().st_mode & 0o077:
        raise SigningError(f"{path} may be read by others; make a new key (remove it), or close it: chmod 600 {path}")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise SigningError(f"{path} is no private key without a password; remove it to make a new one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path} is a {type(key).__name__}; expected an ed25519 key; remove it to make a new one")
    return key


def _make_private_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Closed to others from its first byte on; of two exports at once one fails and says so.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
