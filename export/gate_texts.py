"""Texts for the int8 network: our own for its scales, and those that judge it.

Real tweets are taken from the folder that DISASTER_TWEETS_DATA names, and from nowhere else: nothing else near the
checkout is read.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tweetclf.bundle import sha256_of
from tweetclf.text import has_content, normalise

CALIBRATION_FILE = Path(__file__).with_name("calibration_texts.txt")
REAL_TWEETS_VARIABLE = "DISASTER_TWEETS_DATA"
HELD_OUT_EVERY = 4  # each fourth calibration text is kept back for the gate
REAL_TWEETS = 1_024  # spread evenly over the file


class GateTextsError(RuntimeError):
    """The folder of real tweets was named and cannot be read."""


def calibration_texts(path: Path = CALIBRATION_FILE) -> tuple[list[str], list[str]]:
    """Return (texts that fix the scales, texts held out for the gate); a line holds one JSON string."""
    texts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    held_out = texts[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return [text for index, text in enumerate(texts, start=1) if index % HELD_OUT_EVERY], held_out


def gate_texts(held_out: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name and the texts of the gate: real tweets where a folder of them is named, else those held out.

    Args:
        held_out: own-written tweets.

    Raises:
        GateTextsError: the folder was named and has no test.csv, or none with texts.
    """
    path = _real_tweets_file()
    if path is None:
        return "own-written tweets held out", list(held_out)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file) if has_content(normalise(row["text"]))]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise GateTextsError(_complaint(path, f"{type(error).__name__}: {error}")) from error
    if not texts:
        raise GateTextsError(_complaint(path, "no text in it"))
    return "real tweets", texts[:: max(1, len(texts) // REAL_TWEETS)][:REAL_TWEETS]


def gate_fingerprint() -> str:
    """Return a line that changes whenever the texts of the gate do; the gate chooses what the archive holds."""
    path = _real_tweets_file()
    if path is None:
        return "gate: own-written tweets"  # their file is one of the export's own, which are hashed anyway
    return f"gate: {sha256_of(path) if path.is_file() else 'missing'}"


def _real_tweets_file() -> Path | None:
    named = os.environ.get(REAL_TWEETS_VARIABLE)
    return Path(named) / "test.csv" if named else None


def _complaint(path: Path, found: str) -> str:
    return (
        f"{REAL_TWEETS_VARIABLE} names {path.parent}, whose {path.name} cannot be read ({found}); "
        "expected a folder with test.csv, UTF-8 with a column text: correct the variable, or unset it"
    )
