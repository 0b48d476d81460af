"""Verify a built archive in a clean process: contents, own code, golden answers, no heavy imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from export.archive import content_hashes, manifest_path

REPLAY_SCRIPT = Path(__file__).with_name("clean_replay.py")
# What must stay out of a worker: seconds of start-up and hundreds of megabytes each.
FORBIDDEN_MODULES = (
    "transformers",
    "peft",
    "pandas",
    "sklearn",
    "lightning",
    "huggingface_hub",
    "nncf",
    "training",
    "export",
)
TIMEOUT_S = 120


class VerifyError(RuntimeError):
    """The archive must not be served; the message says what differs."""


def verify(archive: Path) -> list[dict[str, Any]]:
    """Unpack an archive and let its own handler answer its golden samples.

    Args:
        archive: a .mar with its manifest beside it.

    Returns:
        The golden texts with the score that a server of this archive gives, `{"text", "score", "label"}`.

    Raises:
        VerifyError: contents differ from the manifest, the handler refuses to load, an answer is no
            prediction, or a forbidden module was imported.
    """
    expected = json.loads(manifest_path(archive).read_text(encoding="utf-8"))["files"]
    found = content_hashes(archive)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if differing:
        raise VerifyError(f"{archive.name}: {differing} differ from the manifest; build the archive again")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        result = _replay(folder)
    heavy = sorted(set(FORBIDDEN_MODULES) & set(result["modules"]))
    if heavy:
        raise VerifyError(f"the handler imported {heavy}; a worker must start without them")
    if result["statuses"]:
        raise VerifyError(f"golden samples were answered with errors: {result['statuses']}; expected none")
    return [
        {"text": text, "score": answer["score"], "label": answer["label"]}
        for text, answer in zip(result["texts"], result["answers"], strict=True)
    ]


def _replay(folder: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-I", str(REPLAY_SCRIPT), folder],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        raise VerifyError(f"the archive's handler does not load: {result.stderr.strip().splitlines()[-1]}")
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer
