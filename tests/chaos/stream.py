"""A stream of tweets through the client while a fault happens, and what became of each of them."""

from __future__ import annotations

import collections
import http.client
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from disaster_tweets_client import DisasterTweetsError, Prediction
from tests.conftest import SCORE_STEP

# Own-written; with a number each, so that no two requests are the same.
FORMS = (
    "Flood water reaches the school on street {}, roof rescue under way",
    "smoke over garden {} again, it is only the barbecue season",
    "Gas leak near number {}: police clear four blocks",
    "track {} of the new album is pure fire",
)
PROBE_EVERY_S = 0.05


def tweet(number: int) -> str:
    """Return one of the stream's texts."""
    return FORMS[number % len(FORMS)].format(number)


@dataclass
class Outcome:
    """What became of a stream, counted in tweets; all but `answered` should be 0.

    Args:
        lost: tweets that got no answer although the client tried until its deadline.
        wrong: answers that differ from the one given when nothing was broken.
        misplaced: answers with another tweet's mark, or too many of them.
    """

    sent: int = 0
    answered: int = 0
    lost: int = 0
    wrong: int = 0
    misplaced: int = 0
    slowest_s: float = 0.0
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    # Each as (started, ended), seconds of time.monotonic.
    successes: list[tuple[float, float]] = field(default_factory=list)

    def recovered_s(self, fault_at: float) -> float | None:
        """Return the seconds from a fault to the first answer to a question that was asked after it."""
        ends = [ended for started, ended in self.successes if started >= fault_at]
        return round(min(ends) - fault_at, 2) if ends else None


class Stream:
    """Threads that ask as fast as answers come, until told to stop.

    Args:
        make_client: a client for each thread, with its retries.
        ask_once: asks without trying again, and returns the status; one more thread does it now and then.
        threads: that ask one tweet at a time.
        size: of the lists that one more thread asks; 0 leaves it out.
    """

    def __init__(
        self, make_client: Callable[[], Any], ask_once: Callable[[], int], threads: int = 6, size: int = 8
    ) -> None:
        self._make_client = make_client
        self._ask_once = ask_once
        self._sizes = [1] * threads + ([size] if size else [])
        self._numbers = itertools.count()
        self._stops = threading.Event()
        self._lock = threading.Lock()
        self._answers: list[tuple[int, Prediction]] = []
        self._threads: list[threading.Thread] = []
        self.outcome = Outcome()
        self.seen: collections.Counter[str] = collections.Counter()  # by the one that does not try again

    def __enter__(self) -> Stream:
        self._threads = [threading.Thread(target=self._ask, args=(size,)) for size in self._sizes]
        self._threads.append(threading.Thread(target=self._look))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stops.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, tweets: int, timeout_s: float = 120.0) -> None:
        """Wait until so many more tweets were answered."""
        goal = self.outcome.answered + tweets
        deadline = time.monotonic() + timeout_s
        while self.outcome.answered < goal:
            assert time.monotonic() < deadline, f"no {tweets} answers within {timeout_s} s: {self.outcome.errors}"
            time.sleep(0.02)

    def check(self, ask: Callable[[Sequence[str]], Sequence[Prediction]]) -> None:
        """Ask the healed server for everything again, in order, and count what had been answered otherwise."""
        for start in range(0, len(self._answers), 500):
            part = self._answers[start : start + 500]
            for (_, given), now in zip(part, ask([tweet(number) for number, _ in part]), strict=True):
                same = (given.label, given.decision) == (now.label, now.decision)
                # A score beside a threshold may fall on its other side, one step of the last decimal away.
                if abs(given.score - now.score) > SCORE_STEP or (given.score == now.score and not same):
                    self.outcome.wrong += 1

    def _ask(self, size: int) -> None:
        with self._make_client() as client:
            while not self._stops.is_set():
                numbers = list(itertools.islice(self._numbers, size))
                tweets = [{"text": tweet(number), "id": number} for number in numbers]
                started = time.monotonic()
                try:
                    answers = client.predict(tweets) if size > 1 else [client.predict(tweets[0])]
                except DisasterTweetsError as error:
                    self._note(numbers, [], started, f"{type(error).__name__}: {error}")
                else:
                    self._note(numbers, answers, started, None)

    def _note(self, numbers: list[int], answers: list[Prediction], started: float, error: str | None) -> None:
        ended = time.monotonic()
        with self._lock:
            outcome = self.outcome
            outcome.sent += len(numbers)
            outcome.slowest_s = max(outcome.slowest_s, round(ended - started, 2))
            if error is not None:
                outcome.lost += len(numbers)
                outcome.errors[error[:200]] += 1
                return
            outcome.answered += len(answers)
            outcome.misplaced += sum(
                answer.id != number for number, answer in itertools.zip_longest(numbers, answers, fillvalue=answers[0])
            )
            outcome.successes.append((started, ended))
            self._answers += zip(numbers, answers, strict=False)

    def _look(self) -> None:
        while not self._stops.is_set():
            try:
                self.seen[f"HTTP {self._ask_once()}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.seen[type(error).__name__] += 1
            time.sleep(PROBE_EVERY_S)
