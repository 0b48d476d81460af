"""Small archives, whole or broken on purpose, with a manifest and a signature: no model, no torch."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from export.signing import KEYS, PUBLIC_KEY, TRUSTED, sign
from ops.settings.server import ARCHIVE, CONFIG

MANIFEST = {
    "createdOn": "25/11/2026 12:00:00",
    "runtime": "python",
    "model": {
        "modelName": "tweets",
        "handler": "tweets_handler.py",
        "modelVersion": "1",
        "configFile": "model-config.yaml",
    },
    "archiverVersion": "0.12.0",
}
FILES = {
    "model-config.yaml": b"minWorkers: 1\nmaxWorkers: 1\nmaxBatchDelay: 1\nresponseTimeout: 120\nstartupTimeout: 120\n",
    "tweets_handler.py": b"class TweetsHandler: ...\n",
    "bundle/model.pt": bytes(range(256)) * 64,
    "bundle/bundle.json": b'{"model_version": "1"}',
}
MAR_MANIFEST = "MAR-INF/MANIFEST.json"


def write_zip(
    archive: Path,
    files: Mapping[str, bytes] = FILES,
    manifest: object = MANIFEST,
    spoil: Callable[[zipfile.ZipFile], None] | None = None,
) -> Path:
    """Write a .mar as the archiver does.

    Args:
        archive: the file.
        files: name -> content.
        manifest: of the archiver; None leaves it out.
        spoil: changes the open zip before its table is written.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
        if manifest is not None:
            opened.writestr(MAR_MANIFEST, json.dumps(manifest))
        if spoil:
            spoil(opened)
    return archive


def seal(archive: Path, keys: Path, files: Mapping[str, bytes] | None = None, **changes: object) -> Path:
    """Write manifest and signature of an archive and return the folder of trusted keys.

    Args:
        archive: the file, whatever is in it.
        keys: folder of the key pair; made when it is not there.
        files: what the manifest says is in it; None: what zipfile sees.
        changes: of the manifest.
    """
    content = archive.read_bytes()
    if files is None:
        with zipfile.ZipFile(archive) as opened:
            files = {name: opened.read(name) for name in opened.namelist() if name != MAR_MANIFEST}
    manifest = {
        "model_version": "1",
        "files": {name: hashlib.sha256(value).hexdigest() for name, value in files.items()},
        "archive_sha256": hashlib.sha256(content).hexdigest(),
        "archive_bytes": len(content),
        **changes,
    }
    path = archive.with_suffix(".manifest.json")
    path.write_text(json.dumps(manifest), encoding="utf-8")
    sign(path, keys)
    return keys / TRUSTED


def public_key(keys: Path) -> Path:
    return keys / TRUSTED / PUBLIC_KEY


def make_signed_folder(folder: Path) -> Path:
    """Give a folder a signed archive, the key that signed it, and settings of free defaults; return the archive."""
    archive = write_zip(folder / ARCHIVE)
    seal(archive, folder / KEYS)
    (folder / CONFIG).write_text("", encoding="utf-8")
    return archive
