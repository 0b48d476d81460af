"""The whole export in order: bundle, archive, manifest, verification, served golden answers, signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from export.archive import ArchiveError, inputs_hash, manifest_path, write_archive, write_manifest
from export.bundle_writer import ExportError, write_bundle
from export.quantize import QuantizationError
from export.signing import SigningError, prove, sign, signature_path
from export.trace import TraceError
from export.verify import VerifyError, verify
from training.model.base_encoder import BaseEncoderError
from training.model.model import AdapterError
from tweetclf.bundle import BUNDLE_FILE, sha256_of
from tweetclf.errors import TweetClfError

WORK_PREFIX = ".building-"
# Everything that stops a build with a message for the reader instead of a traceback.
REFUSALS = (
    AdapterError,
    ArchiveError,
    BaseEncoderError,
    ExportError,
    QuantizationError,
    SigningError,
    TraceError,
    TweetClfError,
    VerifyError,
)


def build(
    model_dir: Path, bundle_dir: Path, archive: Path, keys: Path, say: Callable[[str], None], int8: bool = True
) -> dict[str, Any]:
    """Build an archive and prove that it answers as the training process did.

    Everything is made in temporary folders on the same file systems, and put in place only after it was verified and
    signed: a build that fails or is killed leaves the archive of before as it was.

    Args:
        model_dir: adapter, facts and golden samples of a training run.
        bundle_dir: where the bundle is left, for readers other than TorchServe; an older bundle is replaced.
        archive: the .mar to write; `.manifest.json`, `.manifest.sig` and `.golden.json` are written to its folder.
        keys: folder of the key that signs; one is made there when there is none.
        say: takes one line a step.
        int8: quantise the network for OpenVINO too.

    Returns:
        The manifest.

    Raises:
        One of `REFUSALS`.
    """
    _check_replaceable(bundle_dir)
    inputs = inputs_hash(model_dir)
    for folder in (archive.parent, bundle_dir.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=archive.parent, prefix=WORK_PREFIX) as store_work,
        TemporaryDirectory(dir=bundle_dir.parent, prefix=WORK_PREFIX) as bundle_work,
    ):
        built = Path(store_work, archive.name)
        new_bundle = Path(bundle_work, "bundle")
        say(f"merging{', tracing and quantising' if int8 else ' and tracing'} {model_dir} ...")
        bundle = write_bundle(model_dir, new_bundle, int8, say)
        say(f"packing {archive} ...")
        write_archive(new_bundle, built, bundle.model_version)
        write_manifest(built, bundle.model_version, inputs)
        say("verifying it in a clean process ...")
        served = built.with_suffix(".golden.json")
        served.write_text(json.dumps(verify(built), indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
        manifest = write_manifest(built, bundle.model_version, inputs, golden_sha256=sha256_of(served))
        say(f"signing it with the key in {keys} ...")
        sign(manifest_path(built), keys)
        prove(built, keys)
        _put_in_place(built, archive, new_bundle, bundle_dir, Path(bundle_work, "old"))
    return manifest


def _put_in_place(built: Path, archive: Path, new_bundle: Path, bundle_dir: Path, old_bundle: Path) -> None:
    """Rename everything that was built.

    The signature comes last. A process that is killed in between leaves files that do not belong together, whose
    signature or hashes do not match: they are not served, and the next export builds them again.
    """
    if bundle_dir.exists():
        bundle_dir.rename(old_bundle)
    try:
        new_bundle.rename(bundle_dir)
    except BaseException:
        if old_bundle.exists():
            old_bundle.rename(bundle_dir)
        raise
    for new, place in zip(_files_of(built), _files_of(archive), strict=True):
        new.replace(place)


def _files_of(archive: Path) -> tuple[Path, ...]:
    """Return the files of an archive in the order in which they are put in place."""
    manifest = manifest_path(archive)
    return archive.with_suffix(".golden.json"), archive, manifest, signature_path(manifest)


def _check_replaceable(bundle_dir: Path) -> None:
    """Refuse a folder that holds something else than a bundle: it would be deleted."""
    if not bundle_dir.exists() or (bundle_dir.is_dir() and not any(bundle_dir.iterdir())):
        return
    if not (bundle_dir / BUNDLE_FILE).is_file():
        raise ExportError(
            f"{bundle_dir} exists and holds no {BUNDLE_FILE}; expected an earlier bundle, which is replaced, or none: "
            "name another with --bundle"
        )
