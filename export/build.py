"""The whole export in order: bundle, archive, manifest, verification, served golden answers, signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.archive import ArchiveError, inputs_hash, manifest_path, write_archive, write_manifest
from export.bundle_writer import ExportError, write_bundle
from export.quantize import QuantizationError
from export.signing import SigningError, prove, sign, signature_path
from export.trace import TraceError
from export.verify import VerifyError, verify
from training.base_encoder import BaseEncoderError
from training.model import AdapterError
from tweetclf.bundle import sha256_of
from tweetclf.errors import TweetClfError

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

    Args:
        model_dir: adapter, facts and golden samples of a training run.
        bundle_dir: where the bundle is left, for readers other than TorchServe.
        archive: the .mar to write; beside it come `.manifest.json`, `.manifest.sig` and `.golden.json`.
        keys: folder of the key that signs; one is made there when there is none.
        say: takes one line a step.
        int8: quantise the network for OpenVINO too.

    Returns:
        The manifest.

    Raises:
        One of `REFUSALS`; the archive is then not left behind as if it were good.
    """
    inputs = inputs_hash(model_dir)
    say(f"merging{', tracing and quantising' if int8 else ' and tracing'} {model_dir} ...")
    bundle = write_bundle(model_dir, bundle_dir, int8)
    if int8:
        say(f"int8 against float32: {json.dumps(bundle.facts['export']['int8']['fidelity'])}")
    say(f"packing {archive} ...")
    write_archive(bundle_dir, archive, bundle.model_version)
    write_manifest(archive, bundle.model_version, inputs)
    say("verifying it in a clean process ...")
    # A signature of an older build says nothing of this one.
    signature_path(manifest_path(archive)).unlink(missing_ok=True)
    try:
        golden = verify(archive)
        served = archive.with_suffix(".golden.json")
        served.write_text(json.dumps(golden, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
        manifest = write_manifest(archive, bundle.model_version, inputs, golden_sha256=sha256_of(served))
        say(f"signing it with the key in {keys} ...")
        sign(manifest_path(archive), keys)
        prove(archive, keys)
    except (VerifyError, SigningError):
        archive.unlink()
        raise
    return manifest
