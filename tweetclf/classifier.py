"""Classify tweets: normalise, tokenise, fold, batch by length, run, calibrate, decide."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tweetclf.answer_cache import AnswerCache
from tweetclf.bundle import Bundle, Thresholds
from tweetclf.calibration import decide, scores, shown
from tweetclf.engines import Engine
from tweetclf.errors import BundleError, InvalidRequestError
from tweetclf.text import folds_beyond, has_content, normalise
from tweetclf.tokens import TweetEncoder

MAX_TEXT_CHARS = 10_000  # forty times a tweet; what lies beyond is no tweet but an attack or a mistake
DEFAULT_BATCH_TOKENS = 512  # engines state their own best
WINDOW_TWEETS = 512  # tokenised, sorted and run together; long enough that hardly any micro-batch is a rest
WINDOW_CHARS_PER_TWEET = 128  # of a full window on average; the tokenizer needs about 110 bytes a character

NOT_REACHED = InvalidRequestError(
    "DEADLINE",
    "the tweet was not reached in the time that one batch may take; send it again, or fewer tweets at once",
)
NOT_FINITE = InvalidRequestError(
    "INTERNAL",
    "the network gave no finite number for the tweet; expected one; if it comes back, serve with precision: float32",
)


@dataclass(frozen=True)
class Prediction:
    """What is said of one tweet.

    Args:
        label: the more probable label; it follows from the rounded score.
        score: calibrated probability of the last label, rounded to calibration.SCORE_DECIMALS.
        decision: a label, or `review` when the rounded score lies in the band where a person must look.
        truncated: True when tokens beyond the model's length were not read.
    """

    label: str
    score: float
    decision: str
    truncated: bool = False


Outcome = Prediction | InvalidRequestError


class Classifier:
    """Answer for texts with one bundle and one engine; knows nothing of servers.

    An answer does not depend on the other texts of the call. Not safe for use by several threads.

    Args:
        bundle: a checked bundle.
        engine: runs its network.
        thresholds: the band of `review`; None takes the bundle's.
        batch_tokens: budget of a micro-batch, in tokens.
        cache_bytes: bound of the answers kept for texts that come again; 0 keeps none.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        thresholds: Thresholds | None = None,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        cache_bytes: int = 0,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.thresholds = thresholds or bundle.thresholds
        self._batch_tokens = batch_tokens
        self._window = max(WINDOW_TWEETS, batch_tokens // 8)
        self._cache: AnswerCache[Prediction] | None = AnswerCache(cache_bytes) if cache_bytes else None
        # A caller who sends golden samples to a server wants to know that the network computes.
        self._never_kept = frozenset(normalise(sample.text) for sample in bundle.golden)
        self._encoder = TweetEncoder(bundle.tokenizer_path, bundle.max_tokens)

    def predict(self, texts: Sequence[str], give_up_at: float | Sequence[float] = math.inf) -> list[Outcome]:
        """Classify raw tweets.

        Args:
            texts: any strings, any number.
            give_up_at: `time.monotonic()` in seconds after which no work on a text is begun: one for all, or one a
                text. Equal texts are computed until the last of their times.

        Returns:
            One entry a text, same order: a prediction, or the error of a text that was not classified
            (EMPTY_TEXT, TEXT_TOO_LONG, DEADLINE, INTERNAL), which costs its neighbours nothing.
        """
        limits = [give_up_at] * len(texts) if isinstance(give_up_at, (int, float)) else list(give_up_at)
        outcomes: list[Outcome] = [NOT_REACHED] * len(texts)
        positions: dict[str, list[int]] = {}  # retweets fill a crisis: equal texts are computed once
        latest: dict[str, float] = {}
        for index, (text, limit) in enumerate(zip(texts, limits, strict=True)):
            if time.monotonic() > limit:
                continue
            prepared = self._prepare(text)
            if isinstance(prepared, InvalidRequestError):
                outcomes[index] = prepared
            else:
                positions.setdefault(prepared, []).append(index)
                latest[prepared] = max(limit, latest.get(prepared, limit))
        for normalised, outcome in self._look_up(latest):
            for index in positions[normalised]:
                outcomes[index] = outcome
        return outcomes

    def cache_facts(self) -> dict[str, int]:
        """Return bound, size, hits and misses of the kept answers; a bound of 0 when none are kept."""
        return {"limit_bytes": 0} if self._cache is None else self._cache.facts()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of raw texts as the engine gets them, special tokens included."""
        return self._encoder.encode([normalise(text) for text in texts])

    def replay_golden(self) -> float:
        """Answer the bundle's golden samples and compare with the training process.

        Returns:
            The largest difference of a probability.

        Raises:
            BundleError: token ids differ, or a probability by more than the engine's tolerance; names
                the line of golden.jsonl.
        """
        encoded = self.encode([sample.text for sample in self.bundle.golden])
        worst = 0.0
        for line, (sample, ids) in enumerate(zip(self.bundle.golden, encoded, strict=True), start=1):
            if tuple(ids) != sample.input_ids:
                raise BundleError(
                    f"golden.jsonl line {line}: this process tokenises the sample into {len(ids)} other ids than the "
                    f"training process ({len(sample.input_ids)}); normaliser or tokenizer differ; export again"
                )
        # One value a sample is compared: before temperature, since it is the network that is checked.
        found = scores(self._logits(encoded), 1.0)
        for line, (sample, score) in enumerate(zip(self.bundle.golden, found, strict=True), start=1):
            difference = abs(float(score) - sample.probabilities[-1])
            worst = max(worst, difference)
            if not difference <= self.engine.tolerance:
                raise BundleError(
                    f"golden.jsonl line {line}: p({self.bundle.labels[-1]}) is {score:.6f}; expected "
                    f"{sample.probabilities[-1]:.6f} +- {self.engine.tolerance}: the {self.engine.name} network "
                    "is not the trained model; export again"
                )
        return worst

    def _prepare(self, text: str) -> str | InvalidRequestError:
        if len(text) > MAX_TEXT_CHARS:
            return _too_long(f"the text has {len(text)} characters")
        # Before the rest of the normaliser and the tokenizer: one character may stand for 18.
        if folds_beyond(text, MAX_TEXT_CHARS):
            return _too_long(f"the {len(text)} characters of the text stand for more (Unicode NFKC)")
        normalised = normalise(text)
        if len(normalised) > MAX_TEXT_CHARS:
            return _too_long(f"the text has {len(normalised)} characters after normalising")
        if not has_content(normalised):
            return InvalidRequestError(
                "EMPTY_TEXT",
                f"nothing to classify among {len(text)} characters; expected words beyond links, mentions and "
                "punctuation",
            )
        return normalised

    def _look_up(self, latest: Mapping[str, float]) -> Iterator[tuple[str, Outcome]]:
        """Yield text and outcome, those with a kept answer first.

        Args:
            latest: normalised text -> time after which it is not begun.
        """
        unknown = list(latest)
        if self._cache is not None:
            unknown = []
            for normalised in latest:
                known = self._cache.get(normalised)
                if known is None:
                    unknown.append(normalised)
                else:
                    yield normalised, known
        for window in self._windows(unknown):
            outcomes = self._predict_window(window, [latest[normalised] for normalised in window])
            for normalised, outcome in zip(window, outcomes, strict=True):
                if self._cache is not None and isinstance(outcome, Prediction) and normalised not in self._never_kept:
                    self._cache.put(normalised, outcome)
                yield normalised, outcome

    def _windows(self, normalised: Sequence[str]) -> Iterator[list[str]]:
        """Yield texts to be tokenised together, few enough to bound the tokenizer's memory and time."""
        largest_chars = self._window * WINDOW_CHARS_PER_TWEET
        window: list[str] = []
        chars = 0
        for text in normalised:
            if len(window) == self._window or (window and chars + len(text) > largest_chars):
                yield window
                window, chars = [], 0
            window.append(text)
            chars += len(text)
        if window:
            yield window

    def _predict_window(self, normalised: Sequence[str], limits: Sequence[float]) -> list[Outcome]:
        outcomes: list[Outcome] = [NOT_REACHED] * len(normalised)
        due = _in_time(range(len(normalised)), limits)
        encoded = dict(zip(due, self._encoder.encode_and_tell([normalised[row] for row in due]), strict=True))
        for batch in self._micro_batches({row: len(ids) for row, (ids, _) in encoded.items()}):
            rows = _in_time(batch, limits)
            if not rows:
                continue
            logits = self.engine.logits([encoded[row][0] for row in rows])
            found = shown(scores(np.nan_to_num(logits), self.bundle.temperature)).tolist()
            finite: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(logits), axis=1)
            for row, score, is_finite in zip(rows, found, finite, strict=True):
                outcomes[row] = self._prediction(score, encoded[row][1]) if is_finite else NOT_FINITE
        return outcomes

    def _prediction(self, score: float, truncated: bool) -> Prediction:
        """Return what follows from a score as shown, so that no part of an answer contradicts another."""
        labels = self.bundle.labels
        return Prediction(labels[int(score >= 0.5)], score, decide(score, self.thresholds, labels), truncated)

    def _logits(self, encoded: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, labels) of token ids of any number."""
        result = np.empty((len(encoded), len(self.bundle.labels)), dtype=np.float32)
        for rows in self._micro_batches({row: len(ids) for row, ids in enumerate(encoded)}):
            result[rows] = self.engine.logits([encoded[row] for row in rows])
        return result

    def _micro_batches(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Yield row numbers, shortest first, so that attention, which is padded, pads little."""
        rows: list[int] = []
        tokens = 0
        for row in sorted(lengths, key=lengths.__getitem__):
            if rows and tokens + lengths[row] > self._batch_tokens:
                yield rows
                rows, tokens = [], 0
            rows.append(row)
            tokens += lengths[row]
        if rows:
            yield rows


def _in_time(rows: Iterable[int], limits: Sequence[float]) -> list[int]:
    now = time.monotonic()
    return [row for row in rows if now <= limits[row]]


def _too_long(found: str) -> InvalidRequestError:
    return InvalidRequestError(
        "TEXT_TOO_LONG", f"{found}; expected at most {MAX_TEXT_CHARS} characters; send the tweet alone"
    )
