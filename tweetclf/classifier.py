"""Classify tweets: normalise, tokenise, fold, batch by length, run, calibrate, decide."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from tweetclf.answer_cache import AnswerCache
from tweetclf.bundle import Bundle, Thresholds
from tweetclf.calibration import decide, scores
from tweetclf.engines import Engine
from tweetclf.errors import BundleError, InvalidRequestError
from tweetclf.text import has_content, normalise

MAX_TEXT_CHARS = 10_000  # forty times a tweet; what lies beyond is no tweet but an attack or a mistake
# Float32 sums in another order in another batch, about 1e-7 apart: no digit below says anything of the tweet.
SCORE_DECIMALS = 4
DEFAULT_BATCH_TOKENS = 512  # engines state their own best
WINDOW_TWEETS = 512  # tokenised, sorted and run together; long enough that hardly any micro-batch is a rest

NOT_REACHED = InvalidRequestError(
    "DEADLINE",
    "the tweet was not reached in the time that one batch may take; send it again, or fewer tweets at once",
)


@dataclass(frozen=True)
class Prediction:
    """What is said of one tweet.

    Args:
        label: the more probable label.
        score: calibrated probability of the last label, rounded to SCORE_DECIMALS.
        decision: a label, or `review` when the score lies in the band where a person must look.
        truncated: True when tokens beyond the model's length were not read.
    """

    label: str
    score: float
    decision: str
    truncated: bool = False


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
        self._ahead = ThreadPoolExecutor(1, "tokenise")  # starts its thread with the first long request
        self._cache: AnswerCache[Prediction] | None = AnswerCache(cache_bytes) if cache_bytes else None
        self._tokenizer = Tokenizer.from_file(str(bundle.tokenizer_path))
        # The file carries its author's settings (128, padding to the longest); length is ours to choose.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def predict(self, texts: Sequence[str], give_up_at: float = math.inf) -> list[Prediction | InvalidRequestError]:
        """Classify raw tweets.

        Args:
            texts: any strings, any number.
            give_up_at: `time.monotonic()` in seconds after which no further micro-batch is begun.

        Returns:
            One entry a text, same order: a prediction, or the error of a text that was not classified
            (EMPTY_TEXT, TEXT_TOO_LONG, DEADLINE), which costs its neighbours nothing.
        """
        outcomes: list[Prediction | InvalidRequestError | None] = [None] * len(texts)
        positions: dict[str, list[int]] = {}  # retweets fill a crisis: equal texts are computed once
        for index, text in enumerate(texts):
            prepared = self._prepare(text)
            if isinstance(prepared, InvalidRequestError):
                outcomes[index] = prepared
            else:
                positions.setdefault(prepared, []).append(index)
        for normalised, outcome in self._look_up(list(positions), give_up_at):
            for index in positions[normalised]:
                outcomes[index] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def cache_facts(self) -> dict[str, int]:
        """Return bound, size, hits and misses of the kept answers; a bound of 0 when none are kept."""
        return {"limit_bytes": 0} if self._cache is None else self._cache.facts()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of raw texts as the engine gets them, special tokens included."""
        return [ids for ids, _ in self._encode_normalised([normalise(text) for text in texts])]

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
            return InvalidRequestError(
                "TEXT_TOO_LONG",
                f"the text has {len(text)} characters; expected at most {MAX_TEXT_CHARS}; send the tweet alone",
            )
        normalised = normalise(text)
        if not has_content(normalised):
            return InvalidRequestError(
                "EMPTY_TEXT",
                f"nothing to classify among {len(text)} characters; expected words beyond links, mentions and "
                "punctuation",
            )
        return normalised

    def _look_up(
        self, distinct: Sequence[str], give_up_at: float
    ) -> Iterator[tuple[str, Prediction | InvalidRequestError]]:
        """Yield text and outcome, those with a kept answer first."""
        if self._cache is None:
            yield from zip(distinct, self._predict_normalised(distinct, give_up_at), strict=True)
            return
        unknown = []
        for normalised in distinct:
            known = self._cache.get(normalised)
            if known is None:
                unknown.append(normalised)
            else:
                yield normalised, known
        for normalised, outcome in zip(unknown, self._predict_normalised(unknown, give_up_at), strict=True):
            if isinstance(outcome, Prediction):
                self._cache.put(normalised, outcome)
            yield normalised, outcome

    def _predict_normalised(
        self, normalised: Sequence[str], give_up_at: float
    ) -> list[Prediction | InvalidRequestError]:
        outcomes: list[Prediction | InvalidRequestError] = []
        for encoded in self._encode_ahead(normalised):
            logits = self._logits([ids for ids, _ in encoded], give_up_at)
            outcomes += [
                NOT_REACHED if math.isnan(score) else self._prediction(score, truncated)
                for score, (_, truncated) in zip(scores(logits, self.bundle.temperature).tolist(), encoded, strict=True)
            ]
        return outcomes

    def _encode_ahead(self, normalised: Sequence[str]) -> Iterator[list[tuple[list[int], bool]]]:
        """Yield the tokens of a window of tweets at a time; the next is tokenised while the caller runs this one."""
        windows = [normalised[start : start + self._window] for start in range(0, len(normalised), self._window)]
        if len(windows) < 2:
            yield from map(self._encode_normalised, windows)
            return
        coming = self._ahead.submit(self._encode_normalised, windows[0])
        for window in windows[1:]:
            ready = coming.result()
            coming = self._ahead.submit(self._encode_normalised, window)
            yield ready
        yield coming.result()

    def _prediction(self, score: float, truncated: bool) -> Prediction:
        labels = self.bundle.labels
        decision = decide(score, self.thresholds, labels)
        return Prediction(labels[int(score >= 0.5)], round(score, SCORE_DECIMALS), decision, truncated)

    def _encode_normalised(self, normalised: Sequence[str]) -> list[tuple[list[int], bool]]:
        limit = self.bundle.max_tokens
        encoded = []
        for encoding in self._tokenizer.encode_batch_fast(list(normalised)):
            ids = encoding.ids
            # The last token is [SEP]: it stays last in a text that is cut.
            encoded.append((ids, False) if len(ids) <= limit else ([*ids[: limit - 1], ids[-1]], True))
        return encoded

    def _logits(self, encoded: Sequence[Sequence[int]], give_up_at: float = math.inf) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2); rows whose micro-batch was not begun in time are NaN."""
        result = np.full((len(encoded), len(self.bundle.labels)), np.nan, dtype=np.float32)
        for rows in self._micro_batches([len(ids) for ids in encoded]):
            if time.monotonic() > give_up_at:
                break
            result[rows] = self.engine.logits([encoded[row] for row in rows])
        return result

    def _micro_batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield row numbers, shortest first, so that attention, which is padded, pads little."""
        rows: list[int] = []
        tokens = 0
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            if rows and tokens + lengths[row] > self._batch_tokens:
                yield rows
                rows, tokens = [], 0
            rows.append(row)
            tokens += lengths[row]
        if rows:
            yield rows
