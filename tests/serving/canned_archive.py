"""Archives of the canned model, packed by the real archiver and signed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.serving.canned_handler import RULE_FILE, answer
from tests.support.signed_archive import seal

MODEL_CONFIG = (
    "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\nmaxBatchDelay: 1\nresponseTimeout: 60\nstartupTimeout: 120\n"
    "jobQueueSize: 1000\n"
)
GOLDEN_TEXTS = ("Flood water is over the bridge in Marlow", "this mixtape is fire", "flood of tears at the show")


def build_canned_archive(folder: Path, keys: Path, version: str, word: str, golden_word: str | None = None) -> Path:
    """Build one archive with all that lies beside it.

    Args:
        folder: is created; gets `tweets.mar`.
        keys: folder of the key that signs.
        version: model version, told in each answer.
        word: texts that hold it are answered `disaster`.
        golden_word: the word by which the golden answers were made; another one makes them wrong.
    """
    folder.mkdir(parents=True)
    rule = {"version": version, "word": word}
    (folder / RULE_FILE).write_text(json.dumps(rule), encoding="utf-8")
    (folder / "model-config.yaml").write_text(MODEL_CONFIG, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", "tweets"]
    command += ["--version", version, "--handler", str(Path(__file__).with_name("canned_handler.py"))]
    command += ["--extra-files", str(folder / RULE_FILE), "--config-file", str(folder / "model-config.yaml")]
    command += ["--export-path", str(folder), "--force"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    golden_rule = {**rule, "word": golden_word or word}
    golden = [{"text": text, **answer(golden_rule, text)} for text in GOLDEN_TEXTS]
    archive = folder / "tweets.mar"
    archive.with_suffix(".golden.json").write_text(json.dumps(golden), encoding="utf-8")
    seal(archive, keys, model_version=version)
    return archive
