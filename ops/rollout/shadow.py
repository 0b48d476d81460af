"""Ask two servers the same tweets and report where they disagree, by number and never by text."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.settings.server import Address
from ops.torchserve.golden import MODEL, WrongAnswersError, ask

ITEMS_A_REQUEST = 200
TIMEOUT_S = 120.0
SHOWN = 5


@dataclass(frozen=True)
class Disagreement:
    """How two models differ on a sample.

    Args:
        tweets: asked.
        labels: tweets with another label.
        decisions: tweets with another decision; one of the two may be `review`.
        mean_score_difference: mean of |difference of p(disaster)|.
        largest_score_difference: the largest.
        first: line numbers, from 1, of the first tweets with another label.
    """

    tweets: int
    labels: int
    decisions: int
    mean_score_difference: float
    largest_score_difference: float
    first: tuple[int, ...]

    @property
    def share(self) -> float:
        """Return the share of tweets with another label, in [0, 1]."""
        return self.labels / self.tweets

    def line(self) -> str:
        """Return it for people."""
        where = f", first in lines {', '.join(map(str, self.first))}" if self.first else ""
        return (
            f"{self.tweets} shadow tweets: {self.labels} with another label ({self.share:.1%}), {self.decisions} with "
            f"another decision, scores differ by {self.mean_score_difference:.4f} on average and "
            f"{self.largest_score_difference:.4f} at most{where}"
        )


def read_sample(file: Path) -> list[str]:
    """Return the tweets of a file, one a line.

    Raises:
        WrongAnswersError: there is none.
    """
    texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [text for text in texts if text and not text.startswith("# ")]
    if not texts:
        raise WrongAnswersError(f"{file} holds no tweet; expected one a line")
    return texts


def compare(before: Address, after: Address, texts: list[str]) -> Disagreement:
    """Ask both servers everything and compare.

    Raises:
        WrongAnswersError: one of them does not answer each tweet.
        OSError: one of them does not answer.
    """
    old, new = _predictions(before, texts), _predictions(after, texts)
    pairs = list(zip(old, new, strict=True))
    differences = [abs(one["score"] - other["score"]) for one, other in pairs]
    other_label = [number for number, (one, other) in enumerate(pairs, 1) if one["label"] != other["label"]]
    return Disagreement(
        tweets=len(pairs),
        labels=len(other_label),
        decisions=sum(one["decision"] != other["decision"] for one, other in pairs),
        mean_score_difference=sum(differences) / len(differences),
        largest_score_difference=max(differences),
        first=tuple(other_label[:SHOWN]),
    )


def _predictions(server: Address, texts: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for start in range(0, len(texts), ITEMS_A_REQUEST):
        body = json.dumps(texts[start : start + ITEMS_A_REQUEST]).encode()
        status, answer = ask(server, f"/predictions/{MODEL}", body, timeout_s=TIMEOUT_S)
        try:
            predictions = json.loads(answer)["predictions"] if status == http.client.OK else []
        except (ValueError, LookupError, TypeError):
            predictions = []
        good = [one for one in predictions if {"label", "score", "decision"} <= one.keys()]
        if len(good) != len(texts[start : start + ITEMS_A_REQUEST]):
            raise WrongAnswersError(
                f"port {server.port} answered {len(good)} of the shadow tweets from line {start + 1} on (HTTP "
                f"{status}); expected a prediction for each"
            )
        found += good
    return found
