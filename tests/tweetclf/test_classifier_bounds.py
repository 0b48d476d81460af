"""What bounds the classifier's work and what a text that cannot be answered costs: nothing of its neighbours."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from tests.tweetclf.counting_engine import CountingEngine, predictions
from tweetclf.bundle import Bundle
from tweetclf.classifier import WINDOW_CHARS_PER_TWEET, WINDOW_TWEETS, Classifier, Prediction
from tweetclf.engines.torchscript import TorchScriptEngine
from tweetclf.errors import InvalidRequestError


def test_predict_out_of_time_gives_the_windows_not_reached_back(
    tiny_bundle: Bundle, engine: TorchScriptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tweetclf.classifier.WINDOW_TWEETS", 4)
    found = Classifier(tiny_bundle, engine).predict([f"fire {n}" for n in range(10)], give_up_at=0.0)
    assert [o.code for o in found if isinstance(o, InvalidRequestError)] == ["DEADLINE"] * 10


def test_predict_past_its_time_gives_back_what_it_did_not_reach(tiny_bundle: Bundle, engine: TorchScriptEngine) -> None:
    class SlowEngine(CountingEngine):
        def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
            time.sleep(0.05)
            return super().logits(input_ids)

    slow = Classifier(tiny_bundle, SlowEngine(engine), batch_tokens=1)
    outcomes = slow.predict([f"fire {n}" for n in range(20)] + [""], give_up_at=time.monotonic() + 0.2)
    codes = [outcome.code if isinstance(outcome, InvalidRequestError) else "ok" for outcome in outcomes]
    assert codes[0] == "ok"
    assert codes[-2:] == ["DEADLINE", "EMPTY_TEXT"]
    assert sorted(codes[:-1], reverse=True) == codes[:-1]


def test_predict_with_a_time_for_each_text_computes_those_whose_time_is_left(
    tiny_bundle: Bundle, engine: TorchScriptEngine
) -> None:
    counting = CountingEngine(engine)
    texts = ["fire", "flood", "storm", "FIRE  &amp;", "quake", "flood"]
    late, early = time.monotonic() + 60, time.monotonic() - 1
    outcomes = Classifier(tiny_bundle, counting).predict(texts, [late, early, math.inf, late, early, late])
    codes = [outcome.code if isinstance(outcome, InvalidRequestError) else "ok" for outcome in outcomes]
    assert codes == ["ok", "DEADLINE", "ok", "ok", "DEADLINE", "ok"]
    assert sum(map(len, counting.calls)) == 4


def test_predict_with_another_number_of_times_is_refused(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="argument"):
        classifier.predict(["fire", "flood"], [math.inf])


def test_predict_past_its_time_neither_normalises_nor_tokenises(
    tiny_bundle: Bundle, engine: TorchScriptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the time is over")

    late = Classifier(tiny_bundle, engine)
    monkeypatch.setattr("tweetclf.classifier.normalise", fail)
    monkeypatch.setattr(late._encoder, "encode_and_tell", fail)
    outcomes = late.predict(["fire", "\ufdfa" * 10_000] * 5_000, time.monotonic() - 1)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, InvalidRequestError)} == {"DEADLINE"}
    assert len(outcomes) == 10_000


def test_predict_when_the_time_ends_within_a_request_tokenises_no_further_window(
    tiny_bundle: Bundle, engine: TorchScriptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("tweetclf.classifier.time.monotonic", lambda: now)
    monkeypatch.setattr("tweetclf.classifier.WINDOW_TWEETS", 4)

    class TickingEngine(CountingEngine):
        def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
            nonlocal now
            now += 1
            return super().logits(input_ids)

    ticking = Classifier(tiny_bundle, TickingEngine(engine), batch_tokens=1)
    tokenised: list[int] = []
    real = ticking._encoder.encode_and_tell
    monkeypatch.setattr(ticking._encoder, "encode_and_tell", lambda texts: tokenised.append(len(texts)) or real(texts))
    outcomes = ticking.predict([f"fire {n}" for n in range(40)], give_up_at=5.5)
    assert sum(isinstance(outcome, Prediction) for outcome in outcomes) == 6
    assert sum(tokenised) == 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predict_of_a_text_with_logits_that_are_not_finite_is_an_error_of_it_alone(
    tiny_bundle: Bundle, engine: TorchScriptEngine, value: float
) -> None:
    class OverflowingEngine(CountingEngine):
        def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
            found = super().logits(input_ids)
            found[[len(ids) > 6 for ids in input_ids], 1] = value
            return found

    overflowing = Classifier(tiny_bundle, OverflowingEngine(engine), cache_bytes=1 << 20)
    texts = ["fire", "fire in the river and the storm", "flood"]
    for _ in range(2):  # an error is not kept
        outcomes = overflowing.predict(texts)
        assert [isinstance(outcome, Prediction) for outcome in outcomes] == [True, False, True]
        assert isinstance(outcomes[1], InvalidRequestError)
        assert (outcomes[1].code, outcomes[1].http_status) == ("INTERNAL", 500)


@pytest.mark.parametrize(
    "text",
    ["\ufdfa" * 9_000, "\ufdfa" * 556, "&#xFDFA;" * 1_250, "\u3316" * 9_999],
    ids=["18x", "just", "entity", "6x"],
)
def test_predict_of_a_text_that_stands_for_more_than_the_limit_is_refused_before_it_is_tokenised(
    classifier: Classifier, text: str
) -> None:
    neighbour, refused = classifier.predict(["fire", text])
    assert isinstance(neighbour, Prediction)
    assert isinstance(refused, InvalidRequestError)
    assert refused.code == "TEXT_TOO_LONG"


def test_predict_tokenises_together_no_more_characters_than_bound_its_memory(
    tiny_bundle: Bundle, engine: TorchScriptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = Classifier(tiny_bundle, engine)
    windows: list[int] = []
    real = bounded._encoder.encode_and_tell
    monkeypatch.setattr(
        bounded._encoder, "encode_and_tell", lambda texts: windows.append(sum(map(len, texts))) or real(texts)
    )
    assert len(predictions(bounded, [f"fire {n} " + "xy" * 4_500 for n in range(30)])) == 30
    assert max(windows) <= WINDOW_TWEETS * WINDOW_CHARS_PER_TWEET
    assert len(windows) > 1


def test_predict_past_its_time_keeps_no_refusal(tiny_bundle: Bundle, engine: TorchScriptEngine) -> None:
    keeping = Classifier(tiny_bundle, engine, cache_bytes=1 << 20)
    late = keeping.predict(["fire"], give_up_at=time.monotonic() - 1)[0]
    assert isinstance(late, InvalidRequestError)
    assert isinstance(keeping.predict(["fire"])[0], Prediction)
