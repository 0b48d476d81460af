"""Look at the files that the gateway serves with: certificate, private key, API keys, golden answers."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ops.doctor.findings import Finding, error, warning
from ops.gateway.keys import KeysError, read_keys
from ops.gateway.settings import DEFAULT_FILE, GatewaySettingsError, read_gateway_settings

SOON = timedelta(days=14)
OPEN_FILES = 16384  # worker_rlimit_nofile of deploy/gateway/nginx.conf.j2
NEW_CERTIFICATE = "bring one of your authority, or to try it: disaster-tweets gateway certificate"
NEW_KEY = "disaster-tweets gateway key create NAME"


def check_gateway_files(root: Path, file: Path | None = None) -> Iterator[Finding]:
    """Check the files that gateway.yaml names.

    Args:
        root: the folder of the project.
        file: the settings; None takes those of the project, where nothing is wrong with a gateway that was never set
            up: neither certificate nor keys.
    """
    try:
        settings = read_gateway_settings(file or root / DEFAULT_FILE, root)
    except (GatewaySettingsError, OSError):  # told of as a setting
        return
    files = (settings.certificate, settings.private_key, settings.keys_file)
    if file is None and not any(map(_is_there, files)):
        return
    now = datetime.now(timezone.utc)
    yield from _certificate(settings.certificate, now)
    yield from _private_key(settings.private_key, settings.certificate)
    yield from _api_keys(settings.keys_file, now)
    yield from _open_files()
    if settings.client_ca is not None:
        yield from _certificate(settings.client_ca, now, "client_ca")
    if not settings.golden_file.is_file():
        expected = "the answers that prove the server right; without them /ready is never true"
        yield error(f"gateway: {settings.golden_file}", "missing", expected, "make archive")


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # of another user
        return True
    return True


def _certificate(path: Path, now: datetime, name: str = "certificate") -> Iterator[Finding]:
    where = f"gateway: {name} {path}"
    fix = (
        NEW_CERTIFICATE if name == "certificate" else "bring the certificate of the authority that signs your clients'"
    )
    try:
        first, *_ = x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        yield error(where, "missing", "a certificate in PEM form", fix)
    except OSError as wrong:
        yield error(where, f"cannot be read ({wrong.strerror})", "a file that this user may read", f"chmod a+r {path}")
    except ValueError:
        yield error(where, "no certificate in PEM form", "-----BEGIN CERTIFICATE-----", fix)
    else:
        begins, ends = first.not_valid_before_utc, first.not_valid_after_utc
        if ends <= now:
            yield error(where, f"ended on {ends:%Y-%m-%d}", "a certificate that is valid today", _renew(fix))
        elif begins > now:
            found = f"is valid from {begins:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M}"
            yield error(where, found, "a certificate that is valid now", "correct the clock of this machine, or wait")
        elif ends - now < SOON:
            found = f"ends on {ends:%Y-%m-%d}, in {(ends - now).days} days"
            yield warning(where, found, f"more than {SOON.days} days", _renew(fix))


def _renew(fix: str) -> str:
    return f"{fix}; then disaster-tweets gateway reload"


def _private_key(path: Path, certificate: Path) -> Iterator[Finding]:
    where = f"gateway: private_key {path}"
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            yield error(where, "every user of this machine may read or change it", "mode 0600", f"chmod 600 {path}")
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        yield error(where, "missing", "the private key of the certificate, in PEM form", NEW_CERTIFICATE)
    except OSError as wrong:
        found = f"cannot be read ({wrong.strerror})"
        yield error(where, found, "a file of the user that runs the gateway", f"chown it to that user: {path}")
    except TypeError:
        expected = "a key without a passphrase, which nobody types at a start"
        yield error(where, "encrypted", expected, f"openssl pkey -in {path} -out NEW_FILE")
    except ValueError:
        yield error(
            where, "no private key in PEM form", "the private key of the certificate, in PEM form", NEW_CERTIFICATE
        )
    else:
        if (public := _public_key_of(certificate)) is not None and public != _bytes_of(key.public_key()):
            expected = f"the key that belongs to {certificate}"
            yield error(
                where, "belongs to another certificate", expected, "bring the two files that were made together"
            )


def _public_key_of(certificate: Path) -> bytes | None:
    try:
        return _bytes_of(x509.load_pem_x509_certificates(certificate.read_bytes())[0].public_key())
    except (OSError, ValueError):  # told of with the certificate
        return None


def _bytes_of(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _api_keys(path: Path, now: datetime) -> Iterator[Finding]:
    where = f"gateway: keys_file {path}"
    if not _is_there(path):
        yield error(where, "missing: nobody is let in", "at least one key", NEW_KEY)
        return
    try:
        keys = read_keys(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except (KeysError, OSError) as wrong:
        yield error(where, str(wrong), "the keys of the gateway, readable by its user", "correct it, or restore it")
        return
    if mode & 0o002:
        yield error(where, "every user of this machine may add a key", "mode 0600", f"chmod 600 {path}")
    usable = [key for key in keys if not key.has_ended(now)]
    if not usable:
        found = f"all {len(keys)} keys have expired or are revoked" if keys else "no keys"
        yield error(where, f"{found}: nobody is let in", "at least one key", NEW_KEY)
    elif all(key.has_ended(now + SOON) for key in usable):
        found = f"no key is good for more than {SOON.days} days ({', '.join(key.id for key in usable[:3])})"
        yield warning(where, found, "a key that lasts longer", NEW_KEY)


def _open_files() -> Iterator[Finding]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        expected = f"{OPEN_FILES}: nginx takes two for each connection"
        yield warning(
            "gateway: open files", f"at most {hard} (ulimit -Hn)", expected, f"ulimit -n {OPEN_FILES} as root"
        )
