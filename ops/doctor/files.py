"""Look at what a server reads at its start: archive, keys, our Java classes, old snapshots."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ops.archive.contents import ArchiveRefusedError, entries
from ops.archive.signature import TRUSTED_KEYS, verify_archive
from ops.doctor.findings import Finding, error, warning
from ops.settings.server import ARCHIVE, CLASSES, GOLDEN, LOGGING

SNAPSHOTS = Path("config")  # below the folder of logs. Source: TorchServe 0.12, snapshot/FSSnapshotSerializer.java
SNAPSHOT_CLASS = Path("org/pytorch/serve/snapshot/FSSnapshotSerializer.class")
PRIVATE_KEY = Path(".keys/signing.pem")
CLASS_ROOTS = ("io", "org")


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


def check_classes(root: Path) -> Iterator[Finding]:
    """Check that Java finds our classes, and the quiet logging, before TorchServe's own (docs/adr/0002)."""
    compiled = [path.relative_to(root / CLASSES) for path in (root / CLASSES).rglob("*.class")]
    missing = [str(path) for path in compiled if not (root / path).is_file()]
    if not compiled or missing:
        what = ", ".join(missing) or f"no classes in {CLASSES}"
        yield error(
            "the links io and org",
            f"TorchServe's own classes would run ({what}): POST /workflows is open, tweets may be logged",
            f"links to {CLASSES}/io and {CLASSES}/org",
            f"ln -sfn {CLASSES}/io io && ln -sfn {CLASSES}/org org",
        )
    if not (root / LOGGING).is_file():
        yield warning(str(LOGGING), "missing: TorchServe logs at its own level", "the quiet one", "restore it from git")


def check_snapshots(root: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Find old snapshots, which TorchServe's own class restores over --models and over config.properties."""
    folder = root / environment.get("LOG_LOCATION", "logs") / SNAPSHOTS
    found = sorted(folder.glob("*.cfg"))
    if not found:
        return
    said = f"{len(found)} snapshots, the newest {found[-1].name}"
    if (root / SNAPSHOT_CLASS).is_file():
        yield warning(str(folder), f"{said}, which our own class does not read", "none", f"rm {folder}/*.cfg")
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
