"""The tweets of a benchmark: real ones where they are, own-written ones elsewhere, each text once."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ops.paths import ROOT

DATA_VARIABLE = "DISASTER_TWEETS_DATA"
OWN_TWEETS = ROOT / "scripts" / "loadtest_tweets.txt"
OWN_COUNT = 4_096
KAGGLE_FILES = ("test.csv", "train.csv")
STREAM_FILES = "crisislex/t6/*.csv"
NOTHING_BUT_WORDS = re.compile(r"https?://\S+|@\w+|[\W\d_]+")


@dataclass(frozen=True)
class Tweets:
    """What is sent.

    Args:
        source: in words, for the report.
        distinct: no two alike, so that neither folding nor a cache could help; in the order of the files.
        stream: as people sent them in a crisis, repeats included; empty where there is none.
    """

    source: str
    distinct: tuple[str, ...]
    stream: tuple[str, ...] = ()


def data_folder(root: Path) -> Path | None:
    """Return the folder of the real tweets, or None where there is none."""
    for folder in (Path(os.environ.get(DATA_VARIABLE, "")), root.parent / "shared" / "data"):
        if folder.name and (folder / KAGGLE_FILES[0]).is_file():
            return folder
    return None


def read_tweets(folder: Path | None) -> Tweets:
    """Read the tweets of a folder, or make some of the own-written ones.

    Args:
        folder: with test.csv and, if possible, train.csv and crisislex/t6/; None for own-written tweets.
    """
    if folder is None:
        own = OWN_TWEETS.read_text(encoding="utf-8").splitlines()
        # Written-out letters: a number would be folded away by `keep_distinct`.
        texts = [f"{own[number % len(own)]} {_word(number)}" for number in range(OWN_COUNT)]
        return Tweets(f"own-written ({OWN_TWEETS.name}), a made-up word after each", keep_distinct(texts))
    files = [folder / name for name in KAGGLE_FILES if (folder / name).is_file()]
    texts = [text for path in files for text in _column(path, "text")]
    streams = [list(_column(path, "tweet")) for path in sorted(folder.glob(STREAM_FILES))]
    names = " and then ".join(path.name for path in files)
    stream = tuple(text for part in streams for text in part if _words(text))
    return Tweets(f"real, of {names} in their order", keep_distinct(texts), stream)


def keep_distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the first of all texts that differ in nothing but links, names, numbers, marks and case.

    This folds more than the classifier's normaliser does, so what is left is distinct to it too.
    """
    first: dict[str, str] = {}
    for text in texts:
        if words := _words(text):
            first.setdefault(words, text)
    return tuple(first.values())


def _words(text: str) -> str:
    return NOTHING_BUT_WORDS.sub(" ", text).casefold().strip()


def _word(number: int) -> str:
    """Return a word of four letters, another one for each number below 26 ** 4."""
    return "".join(chr(ord("a") + number // 26**place % 26) for place in range(4))


def _column(path: Path, name: str) -> Iterable[str]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        for row in reader:
            text = {(key or "").strip(): value for key, value in row.items()}.get(name)
            if text:
                yield text
