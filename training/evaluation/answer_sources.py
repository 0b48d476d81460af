"""Where the answers come from that are evaluated: a model folder, a bundle, or a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import requests
import torch
from tqdm import tqdm

from training.data.encoding import pad
from training.errors import TrainingError
from training.model.base_encoder import resolve_base_encoder
from training.model.model import TweetClassifier, load_merged
from tweetclf.bundle import Bundle, Thresholds, load_bundle
from tweetclf.classifier import DEFAULT_BATCH_TOKENS, Classifier, Prediction
from tweetclf.engines import ENGINE_NAMES
from tweetclf.engines.choice import AUTO, open_engine

CHUNK_TWEETS = 256
ENGINES = ENGINE_NAMES
SERVER_TIMEOUT_S = 60.0
MAX_REQUEST_BYTES = 5_000_000  # config.properties: max_request_size is 6,553,500


class AnswerError(TrainingError):
    """The source gave no usable answers; says what it said and what to do."""


@dataclass(frozen=True)
class Answer:
    """What a source says of one tweet.

    Args:
        score: p(disaster), NaN when there is none.
        decision: a label or `review`; "" when there is none.
        error: the code of a tweet that was not classified, else "".
    """

    score: float
    decision: str = ""
    error: str = ""


@dataclass(frozen=True)
class Answers:
    """The answers to a list of tweets, same order.

    Args:
        scores: (rows,) float64, NaN where there is none; at least 0.5 exactly where the label is `disaster`.
        decisions: one a row.
        errors: one a row; "" where all is well.
    """

    scores: npt.NDArray[np.float64]
    decisions: tuple[str, ...]
    errors: tuple[str, ...]


class AnswerSource(Protocol):
    """Answer raw tweets.

    Attributes:
        kind: "model", "bundle" or "server".
        name: where it is.
        model_version: what answers.
        engine: what computes, as it names itself; "" when a server does not say.
    """

    kind: str
    name: str
    model_version: str
    engine: str

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """Return one answer a text, same order."""
        ...


def ask(source: AnswerSource, texts: Sequence[str]) -> Answers:
    """Return the source's answers, asked for in chunks of texts of about the same length.

    Raises:
        AnswerError: the source fails as a whole.
    """
    found: list[Answer | None] = [None] * len(texts)
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    with tqdm(total=len(texts), desc=f"ask {source.kind}", unit="tweet", disable=None) as bar:
        for start in range(0, len(order), CHUNK_TWEETS):
            rows = order[start : start + CHUNK_TWEETS]
            for row, answer in zip(rows, source.answer([texts[row] for row in rows]), strict=True):
                found[row] = answer
            bar.update(len(rows))
    answers = [answer for answer in found if answer is not None]
    return Answers(
        np.array([answer.score for answer in answers], dtype=np.float64),
        tuple(answer.decision for answer in answers),
        tuple(answer.error for answer in answers),
    )


class ClassifierSource:
    """Answer in this process, with the classifier that the server runs too.

    Args:
        classifier: any engine.
        kind: "model" or "bundle".
        name: the folder.
    """

    def __init__(self, classifier: Classifier, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.model_version = classifier.bundle.model_version
        self.engine = classifier.engine.name
        self._classifier = classifier

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """Return one answer a text, same order."""
        return [
            Answer(outcome.score, outcome.decision)
            if isinstance(outcome, Prediction)
            else Answer(float("nan"), error=outcome.code)
            for outcome in self._classifier.predict(texts)
        ]


class EagerEngine:
    """Run the merged classifier of the training process on the CPU, as an engine of `tweetclf`."""

    name = "eager"
    device = "cpu"
    precision = "float32"
    tolerance = 1e-4
    batch_tokens = DEFAULT_BATCH_TOKENS

    def __init__(self, classifier: TweetClassifier) -> None:
        self._classifier = classifier

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return logits (tweets, 2) float32 for one micro-batch."""
        with torch.inference_mode():
            return np.asarray(self._classifier(*pad(input_ids)).numpy(), dtype=np.float32)

    def warm_up(self, max_tokens: int) -> None:
        """Do nothing: an eager network has nothing to compile."""


def open_model(folder: Path, base: Path) -> ClassifierSource:
    """Return the trained model of a model folder, as served but for the export.

    Args:
        folder: holds adapter.safetensors and training.json.
        base: folder of the base encoder, with its tokenizer.
    """
    classifier, facts = load_merged(folder, base)
    bundle = Bundle(
        path=base,  # the tokenizer is all that is read there
        model_version=facts["model_version"],
        labels=tuple(facts["labels"]),
        max_tokens=facts["max_tokens"],
        temperature=float(facts["temperature"]),
        thresholds=Thresholds(**facts["thresholds"]),
        files={},
        facts=facts,
        golden=(),
    )
    return ClassifierSource(Classifier(bundle, EagerEngine(classifier)), "model", str(folder))


def open_source(
    model: Path, bundle: Path | None, server: str | None, engine: str = AUTO, base: Path | None = None
) -> AnswerSource:
    """Return what is asked for answers: the server if one is given, else the bundle, else the model folder.

    Args:
        model: folder of a trained model.
        bundle: exported folder.
        server: its address.
        engine: of the bundle, one of ENGINES.
        base: folder of the model's base encoder; None resolves the pinned one.
    """
    if server:
        return ServerSource(server)
    return open_bundle(bundle, engine) if bundle else open_model(model, base or resolve_base_encoder())


def open_bundle(folder: Path, engine: str = AUTO) -> ClassifierSource:
    """Return the model of an exported bundle on the engine that would serve it here; golden samples are replayed first.

    Args:
        folder: the bundle.
        engine: one of ENGINES; AUTO chooses as the server does: int8 where there is one and this CPU is fast in it.
    """
    bundle = load_bundle(folder)
    opened, _ = open_engine(engine, bundle, "cpu", torch.get_num_threads())
    classifier = Classifier(bundle, opened)
    classifier.replay_golden()
    return ClassifierSource(classifier, "bundle", str(folder))


class ServerSource:
    """Answer over HTTP, in lists.

    Args:
        url: of the server, such as http://127.0.0.1:8080.
        model_name: as the server names it.
        timeout_s: of one request.

    Raises:
        AnswerError: the server does not answer a first tweet.
    """

    kind = "server"

    def __init__(self, url: str, model_name: str = "tweets", timeout_s: float = SERVER_TIMEOUT_S) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise AnswerError(f"--server is {url!r}; expected an address such as http://127.0.0.1:8080")
        self.name = url.rstrip("/")
        self._address = f"{self.name}/predictions/{model_name}"
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self.engine = ""
        # A proxy of the environment cannot reach this machine's loopback.
        self._session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")
        first = self._predictions(["Is anyone there?"])[0]
        self.model_version = str(first.get("model_version", ""))

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """Return one answer a text, same order.

        Raises:
            AnswerError: the server fails, answers something else, or changes its model meanwhile.
        """
        return [self._read(found) for part in _by_size(texts) for found in self._predictions(part)]

    def _predictions(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        # Not `json=`, which writes six bytes for most letters of other scripts.
        body = json.dumps(list(texts), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        try:
            response = self._session.post(self._address, data=body, headers=headers, timeout=self._timeout_s)
        except requests.RequestException as error:
            raise AnswerError(
                f"{self._address} does not answer ({type(error).__name__}); expected a running server; start it with "
                "`make serve`"
            ) from error
        try:
            predictions: list[dict[str, Any]] = response.json()["predictions"]
        except (ValueError, KeyError, TypeError) as error:
            raise AnswerError(
                f"{self._address} answered HTTP {response.status_code} without a list of predictions; expected "
                f"{len(texts)} of them; is it this project's server?"
            ) from error
        self.engine = response.headers.get("x-engine", self.engine)
        if len(predictions) != len(texts):
            raise AnswerError(f"{self._address} gave {len(predictions)} predictions; expected {len(texts)}")
        return predictions

    def _read(self, prediction: dict[str, Any]) -> Answer:
        try:
            if "error" in prediction:
                return Answer(float("nan"), error=str(prediction["error"]["code"]))
            if prediction["model_version"] != self.model_version:
                raise AnswerError(
                    f"{self.name} answered with model {prediction['model_version']} after {self.model_version}; "
                    "expected one model; wait until the new one is served alone and start again"
                )
            return Answer(float(prediction["score"]), str(prediction["decision"]))
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerError(
                f"{self._address} gave a prediction that lacks a part or has it wrong ({type(error).__name__}: "
                f"{error}); expected label, score, decision and model_version"
            ) from error


def _by_size(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts in parts that fit into a request; a text that is larger than that is a part of its own."""
    part: list[str] = []
    size_bytes = 0
    for text in texts:
        text_bytes = len(json.dumps(text, ensure_ascii=False).encode()) + 2  # a comma and a space
        if part and size_bytes + text_bytes > MAX_REQUEST_BYTES:
            yield part
            part, size_bytes = [], 0
        part.append(text)
        size_bytes += text_bytes
    if part:
        yield part
