"""The key pair of this machine and the signature of a manifest."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from export import signing
from export.signing import PRIVATE_KEY, SigningError, is_signed, prove, sign
from ops.archive.signature import verify_archive
from tests.support.signed_archive import public_key, seal, write_zip


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "tweets.manifest.json"
    path.write_text("{}")
    return path


def test_sign_when_there_is_no_key_then_makes_one_that_nobody_else_reads(manifest: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert sign(manifest, keys).read_bytes() != b""
    assert stat.S_IMODE((keys / PRIVATE_KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert "PRIVATE" not in public_key(keys).read_text()
    assert is_signed(manifest, keys)


def test_sign_when_done_twice_then_uses_the_same_key(manifest: Path, tmp_path: Path) -> None:
    first = sign(manifest, tmp_path / "keys").read_bytes()
    assert sign(manifest, tmp_path / "keys").read_bytes() == first


def test_is_signed_when_the_manifest_changed_or_the_signature_is_gone_then_false(
    manifest: Path, tmp_path: Path
) -> None:
    signature = sign(manifest, tmp_path / "keys")
    assert not is_signed(manifest, tmp_path / "other")
    manifest.write_text("{ }")
    assert not is_signed(manifest, tmp_path / "keys")
    signature.unlink()
    assert not is_signed(manifest, tmp_path / "keys")


def test_sign_when_others_may_read_the_key_then_refuses(manifest: Path, tmp_path: Path) -> None:
    sign(manifest, tmp_path / "keys")
    (tmp_path / "keys" / PRIVATE_KEY).chmod(0o640)
    with pytest.raises(SigningError, match="may be read by others"):
        sign(manifest, tmp_path / "keys")


@pytest.mark.parametrize("kind", ["text", "another curve"])
def test_sign_when_the_key_is_none_of_ed25519_then_refuses(manifest: Path, tmp_path: Path, kind: str) -> None:
    key = tmp_path / "keys" / PRIVATE_KEY
    key.parent.mkdir()
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.write_bytes(b"no key" if kind == "text" else other)
    key.chmod(0o600)
    with pytest.raises(SigningError, match="remove it to make a new one"):
        sign(manifest, tmp_path / "keys")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here; Debian: apt-get install openssl")
def test_signature_when_openssl_verifies_it_then_right(manifest: Path, tmp_path: Path) -> None:
    signature = sign(manifest, tmp_path / "keys")
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public_key(tmp_path / "keys")), "-rawin"]
    command += ["-in", str(manifest), "-sigfile", str(signature)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "Signature Verified Successfully" in result.stdout + result.stderr


def test_prove_when_the_archive_breaks_a_rule_then_refuses_what_was_just_signed(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "tweets.mar")
    seal(archive, tmp_path / "keys")
    prove(archive, tmp_path / "keys")
    write_zip(archive, manifest=None)
    seal(archive, tmp_path / "keys")
    with pytest.raises(SigningError, match=r"holds no MAR-INF/MANIFEST\.json"):
        prove(archive, tmp_path / "keys")


def test_prove_when_the_verifier_takes_too_long_then_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_zip(tmp_path / "tweets.mar")
    seal(archive, tmp_path / "keys")
    monkeypatch.setattr(signing, "VERIFIER_TIMEOUT_S", 0.01)
    with pytest.raises(SigningError, match="was not verified within"):
        prove(archive, tmp_path / "keys")


@pytest.mark.slow
def test_archive_of_the_default_model_when_exported_then_verifies(real_build: Path) -> None:
    verified = verify_archive(real_build / "store" / "tweets.mar", real_build / "keys" / "trusted")
    assert verified.key_name == "this-machine"
