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

from export.archive import content_hashes, last_words, manifest_path

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
        archive: a .mar with its manifest in the same folder, where it is also unpacked for a while.

    Returns:
        The golden texts with the score that a server of this archive gives, `{"text", "score", "label"}`.

    Raises:
        VerifyError: contents differ from the manifest, the handler refuses to load, an answer is no
            prediction, a forbidden module was imported, or the process was killed or too slow.
    """
    expected = json.loads(manifest_path(archive).read_text(encoding="utf-8"))["files"]
    try:
        found = content_hashes(archive)
    except zipfile.BadZipFile as error:
        raise VerifyError(f"{archive.name} is no whole archive ({error}); build it again") from error
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if differing:
        raise VerifyError(f"{archive.name}: {differing} differ from the manifest; build the archive again")
    with tempfile.TemporaryDirectory(dir=archive.resolve().parent, prefix=".verifying-") as folder:
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
    command = [sys.executable, "-I", str(REPLAY_SCRIPT), folder]
    try:
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise VerifyError(
            f"the archive's handler did not answer its golden samples within {TIMEOUT_S} s; expected some seconds: is "
            "this machine busy? Try again"
        ) from error
    if result.returncode != 0:
        raise VerifyError(f"the archive's handler does not load: {last_words(result).splitlines()[-1]}")
    try:
        answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise VerifyError("the replay of the golden samples ended without a result; build the archive again") from error
    return answer
