"""Verify an archive: the signature of its manifest, then every byte of it against the manifest.

Needs neither network nor torch. What the signature means and what it does not: docs/adr/0005.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ops.archive.contents import (
    ARCHIVER_MANIFEST,
    BLOCK_BYTES,
    ArchiveRefusedError,
    check_archiver_manifest,
    content_hashes,
    entries,
)

TRUSTED_KEYS = Path(".keys/trusted")
MAX_MANIFEST_BYTES = 1 << 20
SIGNATURE_BYTES = 64
MANIFEST_FIELDS = {"model_version": str, "files": dict, "archive_sha256": str, "archive_bytes": int}


@dataclass(frozen=True)
class Verified:
    """An archive that may be served.

    Args:
        model_version: of the model inside.
        key_name: name of the trusted key's file, without its ending.
        key_id: first 16 hexadecimal digits of the SHA-256 over the raw public key.
        archive_sha256: of the whole file.
        num_files: entries inside, TorchServe's own manifest included.
    """

    model_version: str
    key_name: str
    key_id: str
    archive_sha256: str
    num_files: int

    @property
    def summary(self) -> str:
        """Return one line for a log: which model, and who vouches for it."""
        return f"model {self.model_version}, {self.num_files} files as signed by {self.key_name} ({self.key_id})"


def verify_archive(archive: Path, trusted_keys: Path, contents: bool = True) -> Verified:
    """Verify one archive with the manifest and the signature beside it.

    Args:
        archive: the .mar; `NAME.manifest.json` and `NAME.manifest.sig` lie in its folder.
        trusted_keys: folder of public keys, one PEM file each.
        contents: unpack and hash every file too. Without it the hash of the whole file is compared, which finds the
            same changes; with it the changed files are named, and a signed archive that lies about itself
            is found.

    Returns:
        What was verified.

    Raises:
        ArchiveRefusedError: no or another signature, anything that differs from the manifest, or a zip that breaks a
            rule of archive_zip.
    """
    manifest_file = archive.with_suffix(".manifest.json")
    signed = _read(manifest_file, MAX_MANIFEST_BYTES)
    key_name, key_id = _signer(signed, archive, trusted_keys)
    manifest = _parse(signed, manifest_file.name)
    found_bytes, found_hash = _size_and_hash(archive)
    if (found_bytes, found_hash) != (manifest["archive_bytes"], manifest["archive_sha256"]):
        raise ArchiveRefusedError(
            f"{archive.name} has {found_bytes} bytes, sha256 {found_hash[:16]}; its signed manifest says "
            f"{manifest['archive_bytes']} bytes, {str(manifest['archive_sha256'])[:16]}{_differing(archive, manifest)}"
            "; copy it again or build it again: make archive"
        )
    _check_golden(archive, manifest)
    found = entries(archive)
    check_archiver_manifest(archive, found)
    if contents:
        _check_contents(archive.name, manifest["files"], content_hashes(archive, found))
    return Verified(str(manifest["model_version"]), key_name, key_id, found_hash, len(found))


def key_id_of(key: Ed25519PublicKey) -> str:
    """Return the short name of a public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def load_trusted_keys(folder: Path) -> dict[str, Ed25519PublicKey]:
    """Return name -> public key of a folder.

    Raises:
        ArchiveRefusedError: there is none, or a file is no ed25519 public key.
    """
    keys: dict[str, Ed25519PublicKey] = {}
    for path in sorted(folder.glob("*.pem")):
        try:
            key = load_pem_public_key(path.read_bytes())
        except (ValueError, OSError, UnsupportedAlgorithm) as error:
            raise ArchiveRefusedError(f"{path} is no public key in PEM form ({error}); remove or replace it") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ArchiveRefusedError(f"{path} is a {type(key).__name__}; expected an ed25519 public key")
        keys[path.stem] = key
    if not keys:
        raise ArchiveRefusedError(
            f"no trusted key in {folder}; expected at least one NAME.pem: `make archive` makes one and trusts it, or "
            "copy the public key of whoever built the archive there"
        )
    return keys


def _signer(signed: bytes, archive: Path, trusted_keys: Path) -> tuple[str, str]:
    signature_file = archive.with_suffix(".manifest.sig")
    if not signature_file.is_file():
        raise ArchiveRefusedError(
            f"{signature_file.name} is missing: {archive.name} is not signed; build it again: make archive, or copy "
            "the signature with it"
        )
    signature = _read(signature_file, SIGNATURE_BYTES)
    keys = load_trusted_keys(trusted_keys)
    for name, key in keys.items():
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return name, key_id_of(key)
    raise ArchiveRefusedError(
        f"the signature of {archive.stem}.manifest.json is of none of the trusted keys ({', '.join(keys)}): the "
        f"manifest was changed or somebody else signed it; build it again: make archive, or trust its builder: "
        f"copy the public key to {trusted_keys}"
    )


def _parse(signed: bytes, name: str) -> dict[str, Any]:
    try:
        manifest = json.loads(signed)
        wrong = [key for key, kind in MANIFEST_FIELDS.items() if not isinstance(manifest.get(key), kind)]
    except (ValueError, AttributeError) as error:
        raise ArchiveRefusedError(
            f"{name} is no JSON object ({error}); build the archive again: make archive"
        ) from error
    if wrong:
        raise ArchiveRefusedError(f"{name}: {wrong} are missing or of the wrong type; build it again: make archive")
    return dict(manifest)


def _read(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise ArchiveRefusedError(
            f"{path.name} cannot be read ({error.strerror}); build the archive: make archive"
        ) from None
    if len(content) > limit_bytes:
        raise ArchiveRefusedError(
            f"{path.name} is longer than {limit_bytes} bytes; build the archive again: make archive"
        )
    return content


def _size_and_hash(archive: Path) -> tuple[int, str]:
    digest, length = hashlib.sha256(), 0
    try:
        with archive.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                length += len(block)
    except OSError as error:
        raise ArchiveRefusedError(f"{archive} cannot be read ({error.strerror}); build it: make archive") from None
    return length, digest.hexdigest()


def _differing(archive: Path, manifest: dict[str, Any]) -> str:
    """Name what differs, as far as a broken file lets itself be read."""
    try:
        _check_contents(archive.name, manifest["files"], content_hashes(archive, entries(archive)))
    except ArchiveRefusedError as error:
        return f" ({error})"
    return " (its contents are as signed; what packs them is not)"


def _check_contents(name: str, expected: dict[str, str], found: dict[str, str]) -> None:
    # TorchServe's own manifest holds the time of the build; the hash of the whole file covers it.
    found = {path: value for path, value in found.items() if path != ARCHIVER_MANIFEST}
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    changed = sorted(path for path in expected.keys() & found.keys() if expected[path] != found[path])
    if missing or extra or changed:
        raise ArchiveRefusedError(f"{name}: missing {missing}, not in the manifest {extra}, changed {changed}")


def _check_golden(archive: Path, manifest: dict[str, Any]) -> None:
    golden = archive.with_suffix(".golden.json")
    expected = manifest.get("golden_sha256")
    if expected is None:
        return
    if not golden.is_file():
        raise ArchiveRefusedError(
            f"{golden.name} is missing, and the signed manifest names it: nothing could prove a server right; copy it "
            "too or build the archive again: make archive"
        )
    if _size_and_hash(golden)[1] != expected:
        raise ArchiveRefusedError(
            f"{golden.name} differs from the signed manifest: a server would be held against wrong answers; copy it "
            "again or build the archive again: make archive"
        )
