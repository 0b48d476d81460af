"""What a trained model has to beat, fitted on the same rows; settings are fixed, not chosen on any dev row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from training.data.encoding import TweetEncoder, pad
from training.model.base_encoder import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from training.model.model import load_base
from tweetclf.bundle import sha256_of

Floats = npt.NDArray[np.float64]

NAMES = ("majority", "keyword rule", "TF-IDF + LR", "frozen MiniLM + LR")
DESCRIPTIONS = {
    "majority": "share of disasters among the training rows, the same for every tweet",
    "keyword rule": "highest share of disasters among the training rows with one of the tweet's Kaggle search words; "
    "the share of the rows without any where there is none",
    "TF-IDF + LR": "word 1-2-grams and character 3-5-grams (in at least 2 training rows), logistic regression, C=3",
    "frozen MiniLM + LR": "mean-pooled vector of the whole base encoder, untrained, logistic regression, C=0.1",
}
MAX_TOKENS = 128
BATCH = 64
_SMOOTHING = 2.0


class Baseline(Protocol):
    """A system that is fitted on rows with columns normalised, keyword and target."""

    def fit(self, rows: pd.DataFrame) -> Baseline:
        """Learn from the rows; return itself."""
        ...

    def scores(self, rows: pd.DataFrame) -> Floats:
        """Return p(disaster), (rows,)."""
        ...


def make_baseline(name: str, base: Path, cache: Path) -> Baseline:
    """Return a baseline of NAMES, not yet fitted.

    Args:
        name: one of NAMES.
        base: folder of the base encoder.
        cache: folder where vectors of the base encoder are kept.
    """
    if name == "majority":
        return Majority()
    if name == "keyword rule":
        return KeywordRule()
    return TfIdf() if name == "TF-IDF + LR" else FrozenEncoder(base, cache)


class Majority:
    """Say the same of every tweet."""

    def fit(self, rows: pd.DataFrame) -> Majority:
        """Learn the share of disasters."""
        self._share = float(rows["target"].mean())
        return self

    def scores(self, rows: pd.DataFrame) -> Floats:
        """Return the share, (rows,)."""
        return np.full(len(rows), self._share)


class KeywordRule:
    """Judge a tweet by the search word in it that most often belonged to a disaster."""

    def fit(self, rows: pd.DataFrame) -> KeywordRule:
        """Learn the share of disasters with each search word of the column `keyword`, and without any."""
        words = sorted({keyword.lower() for keyword in rows["keyword"]} - {""})
        targets = rows["target"].to_numpy(dtype=np.float64)
        prior = float(targets.mean())
        self._finder = CountVectorizer(
            vocabulary=words or ["disaster"], ngram_range=(1, 3), binary=True, analyzer="word"
        )
        found = self._finder.transform(rows["normalised"])
        counts = np.asarray(found.sum(0)).ravel()
        # Two imaginary rows of the average pull rare words to it.
        self._shares = (found.T @ targets + _SMOOTHING * prior) / (counts + _SMOOTHING)
        without = np.asarray(found.sum(1)).ravel() == 0
        self._without = float((targets[without].sum() + _SMOOTHING * prior) / (without.sum() + _SMOOTHING))
        return self

    def scores(self, rows: pd.DataFrame) -> Floats:
        """Return the highest share of a tweet's search words, (rows,)."""
        found = self._finder.transform(rows["normalised"])
        best = np.asarray(found.multiply(self._shares[None, :]).tocsr().max(axis=1).todense()).ravel()
        return np.where(np.asarray(found.sum(1)).ravel() == 0, self._without, best)


class TfIdf:
    """Weigh words and pieces of words."""

    def fit(self, rows: pd.DataFrame) -> TfIdf:
        """Learn vocabulary and weights."""
        features = FeatureUnion(
            [
                ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)),
                ("pieces", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, sublinear_tf=True)),
            ]
        )
        self._pipeline: Pipeline = make_pipeline(features, LogisticRegression(C=3.0, solver="liblinear"))
        self._pipeline.fit(rows["normalised"], rows["target"])
        return self

    def scores(self, rows: pd.DataFrame) -> Floats:
        """Return p(disaster), (rows,)."""
        return np.asarray(self._pipeline.predict_proba(rows["normalised"])[:, 1], dtype=np.float64)


class FrozenEncoder:
    """Put a linear model on the base encoder's sentence vectors.

    Args:
        base: folder of the base encoder.
        cache: where vectors are kept from run to run.
    """

    def __init__(self, base: Path, cache: Path) -> None:
        self._base = base
        self._cache = cache

    def fit(self, rows: pd.DataFrame) -> FrozenEncoder:
        """Learn the weights of the vector's parts."""
        self._pipeline: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
        self._pipeline.fit(self._vectors(rows), rows["target"])
        return self

    def scores(self, rows: pd.DataFrame) -> Floats:
        """Return p(disaster), (rows,)."""
        return np.asarray(self._pipeline.predict_proba(self._vectors(rows))[:, 1], dtype=np.float64)

    def _vectors(self, rows: pd.DataFrame) -> npt.NDArray[np.float32]:
        texts = rows["normalised"].tolist()
        digest = hashlib.sha256(sha256_of(self._base / WEIGHTS_FILE).encode())
        for text in texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        path = self._cache / f"vectors-{digest.hexdigest()[:16]}.npy"
        if path.is_file():
            return np.asarray(np.load(path), dtype=np.float32)
        vectors = sentence_vectors(texts, self._base)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
        return vectors


def sentence_vectors(texts: Sequence[str], base: Path) -> npt.NDArray[np.float32]:
    """Return the masked mean of the base encoder's last hidden states, (texts, hidden) float32.

    Source: as all-MiniLM-L6-v2 was trained (its 1_Pooling/config.json).
    """
    layers = json.loads((base / CONFIG_FILE).read_text(encoding="utf-8"))["num_hidden_layers"]
    encoder = load_base(base, layers, attention="sdpa").eval()
    encoded = TweetEncoder(base / TOKENIZER_FILE, MAX_TOKENS).encode(texts)
    order = sorted(range(len(texts)), key=lambda row: len(encoded[row]))
    vectors = np.empty((len(texts), encoder.config.hidden_size), dtype=np.float32)
    with torch.inference_mode(), tqdm(total=len(texts), desc="frozen MiniLM", unit="tweet", disable=None) as bar:
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            ids, mask = pad([encoded[row] for row in rows])
            hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            vectors[rows] = ((hidden * weights).sum(1) / weights.sum(1)).numpy()
            bar.update(len(rows))
    return vectors
