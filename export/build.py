"""The whole export in order: bundle, archive, manifest, verification, served golden answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.archive import ArchiveError, inputs_hash, write_archive, write_manifest
from export.bundle_writer import ExportError, write_bundle
from export.quantize import QuantizationError
from export.trace import TraceError
from export.verify import VerifyError, verify
from training.base_encoder import BaseEncoderError
from training.model import AdapterError
from tweetclf.errors import TweetClfError

# Everything that stops a build with a message for the reader instead of a traceback.
REFUSALS = (
    AdapterError,
    ArchiveError,
    BaseEncoderError,
    ExportError,
    QuantizationError,
    TraceError,
    TweetClfError,
    VerifyError,
)


def build(
    model_dir: Path, bundle_dir: Path, archive: Path, say: Callable[[str], None], int8: bool = True
) -> dict[str, Any]:
    """Build an archive and prove that it answers as the training process did.

    Args:
        model_dir: adapter, facts and golden samples of a training run.
        bundle_dir: where the bundle is left, for readers other than TorchServe.
        archive: the .mar to write; beside it come `.manifest.json` and `.golden.json`.
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
    manifest = write_manifest(archive, bundle.model_version, inputs)
    say("verifying it in a clean process ...")
    try:
        golden = verify(archive)
    except VerifyError:
        archive.unlink()
        raise
    served = archive.with_suffix(".golden.json")
    served.write_text(json.dumps(golden, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    return manifest
