"""Look at what a server reads at its start: archive, keys, TorchServe's protection, old snapshots."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ops.archive.contents import ArchiveRefusedError, entries
from ops.archive.signature import TRUSTED_KEYS, verify_archive
from ops.doctor.findings import Finding, error, warning
from ops.settings.server import ARCHIVE, GOLDEN, LOGGING
from torchserve_hardened.check import find_fault

SNAPSHOTS = Path("config")  # below the folder of logs. Source: TorchServe 0.12, snapshot/FSSnapshotSerializer.java
COMMAND = "torchserve"
PRIVATE_KEY = Path(".keys/signing.pem")


def check_archive(root: Path) -> Iterator[Finding]:
    """Verify signature, hash and layout of the archive; `disaster-tweets verify` hashes each file of it too."""
    try:
        verify_archive(root / ARCHIVE, root / TRUSTED_KEYS, contents=False)
    except ArchiveRefusedError as refused:
        yield error(str(ARCHIVE), str(refused), "the archive as signed by a trusted key", "make archive")
    if not (root / GOLDEN).is_file():
        yield error(str(GOLDEN), "missing", "the answers that prove a server right", "make archive")
    key = root / PRIVATE_KEY
    if key.is_file() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        yield error(str(PRIVATE_KEY), "others may read the key that signs archives", "mode 0600", f"chmod 600 {key}")


def check_protection(root: Path, bin_dir: Path) -> Iterator[Finding]:
    """Check that the command `torchserve` loads the Java agent (docs/adr/0002), and that logging is the quiet one."""
    fault = find_fault(bin_dir / COMMAND)
    if fault:
        yield error(
            COMMAND, f"{fault}: POST /workflows is open, tweets may be logged", "the protected one", "make setup"
        )
    if not (root / LOGGING).is_file():
        yield warning(str(LOGGING), "missing: TorchServe logs at its own level", "the quiet one", "restore it from git")


def check_snapshots(root: Path, bin_dir: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Find old snapshots, which TorchServe's own class restores over --models and over config.properties."""
    folder = root / environment.get("LOG_LOCATION", "logs") / SNAPSHOTS
    found = sorted(folder.glob("*.cfg"))
    if not found:
        return
    said = f"{len(found)} snapshots, the newest {found[-1].name}"
    if find_fault(bin_dir / COMMAND) is None:
        yield warning(
            str(folder), f"{said}, which the protected TorchServe does not read", "none", f"rm {folder}/*.cfg"
        )
    else:
        yield error(str(folder), f"{said}: a start by hand restores it over all settings", "none", f"rm {folder}/*.cfg")


def unpacked_bytes(root: Path) -> int:
    """Return how much room the archive takes when it is unpacked, 0 where it cannot be read."""
    try:
        return sum(entry.file_size for entry in entries(root / ARCHIVE))
    except ArchiveRefusedError:
        return 0


def file_in_archive(root: Path, name: str) -> str | None:
    """Return a text of the archive, or None where archive or file cannot be read."""
    try:
        with zipfile.ZipFile(root / ARCHIVE) as opened, opened.open(name) as file:
            return file.read(1 << 20).decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, RuntimeError):
        return None
