"""Kinds of tweets whose figures are reported beside the whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.language_guess import looks_english

SHORT_CHARS = 70
LONG_CHARS = 110
CAPS_SHARE = 0.3
_URL = re.compile(r"https?:/|\bwww\.|\bt\.co/", re.IGNORECASE)
_HASHTAG = re.compile(r"(?<![\w&])#\w")
_WORD = re.compile(r"[^\W\d_]{2,}")

Mask = npt.NDArray[np.bool_]


def caps_share(text: str) -> float:
    """Return the share of words, of two letters or more and outside links, that are written in capitals."""
    words = _WORD.findall(re.sub(r"https?:\S*|@\w+", " ", text))
    return sum(word.isupper() for word in words) / len(words) if words else 0.0


def keyword_pattern(keywords: Sequence[str]) -> re.Pattern[str]:
    """Return what finds any of the search words as whole words, in any case; nothing when there are none."""
    words = sorted({keyword.strip().lower() for keyword in keywords} - {""}, key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b" if words else r"(?!)", re.IGNORECASE)


def slices(rows: pd.DataFrame, keywords: Sequence[str]) -> dict[str, Mask]:
    """Return name -> (rows,) mask; the names of a pair such as "URL" and "no URL" divide the rows.

    Args:
        rows: has columns text (raw) and normalised.
        keywords: Kaggle's search words among the training rows.
    """
    texts = rows["text"].tolist()
    length = np.array([len(text) for text in rows["normalised"]])
    known = keyword_pattern(keywords)
    pairs: dict[str, tuple[str, Callable[[str], bool]]] = {
        "URL": ("no URL", lambda text: bool(_URL.search(text))),
        "hashtag": ("no hashtag", lambda text: bool(_HASHTAG.search(text))),
        f"capitals >= {CAPS_SHARE:.0%} of words": ("fewer capitals", lambda text: caps_share(text) >= CAPS_SHARE),
        "search word in text": ("no search word", lambda text: bool(known.search(text))),
    }
    found = {
        f"under {SHORT_CHARS} characters": length < SHORT_CHARS,
        f"{SHORT_CHARS} to {LONG_CHARS} characters": (length >= SHORT_CHARS) & (length <= LONG_CHARS),
        f"over {LONG_CHARS} characters": length > LONG_CHARS,
    }
    for name, (opposite, test) in pairs.items():
        found[name] = np.array([test(text) for text in texts], dtype=bool)
        found[opposite] = ~found[name]
    english = np.array([looks_english(text) for text in rows["normalised"]], dtype=bool)
    return {**found, "guessed English": english, "guessed not English": ~english}
