"""The classifier over the tiny model: order, folding, neighbours, errors as values."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import MAX_TOKENS, SCORE_STEP
from tests.tiny_model import TinyClassifier, tiny_tokenizer
from tests.tweetclf.counting_engine import CountingEngine, predictions
from tweetclf.bundle import Bundle, Thresholds, load_bundle, sha256_of
from tweetclf.calibration import scores
from tweetclf.classifier import MAX_TEXT_CHARS, Classifier, Prediction
from tweetclf.engines.torchscript import TorchScriptEngine
from tweetclf.errors import BundleError, InvalidRequestError
from tweetclf.text import normalise


def test_predict_equals_the_eager_model_with_temperature(
    classifier: Classifier, tiny_classifier: TinyClassifier
) -> None:
    text = "fire in the river"
    ids = torch.tensor([tiny_tokenizer().encode(text).ids])
    with torch.no_grad():
        logits = tiny_classifier(ids, torch.ones_like(ids)).numpy()
    assert predictions(classifier, [text])[0].score == pytest.approx(scores(logits, 1.5)[0], abs=SCORE_STEP)


def test_predict_says_label_and_decision_that_follow_from_the_score(classifier: Classifier) -> None:
    for prediction in predictions(classifier, ["fire", "flood and storm", "the user is in", "quake http 9", "ok ok"]):
        assert prediction.label == ("disaster" if prediction.score >= 0.5 else "not_disaster")
        expected = "disaster" if prediction.score >= 0.7 else "not_disaster" if prediction.score < 0.3 else "review"
        assert prediction.decision == expected


def test_predict_with_own_thresholds_uses_them(tiny_bundle: Bundle, engine: TorchScriptEngine) -> None:
    everything = Classifier(tiny_bundle, engine, Thresholds(0.0, 0.0))
    assert {p.decision for p in predictions(everything, ["fire", "ok ok", "the user"])} == {"disaster"}


words = st.sampled_from(
    ["fire", "flood", "river", "http://x.example/a", "@bob", "ok", "9", "storm", "caf\u00e9", "\U0001f525"]
)
tweets = st.lists(words, min_size=1, max_size=40).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(tweets, min_size=1, max_size=12), st.integers(0, 11))
def test_predict_of_a_tweet_does_not_depend_on_its_neighbours(
    classifier: Classifier, batch: list[str], position: int
) -> None:
    position %= len(batch)
    alone, together = classifier.predict([batch[position]])[0], classifier.predict(batch)[position]
    if isinstance(alone, Prediction):
        assert isinstance(together, Prediction)
        assert together.score == pytest.approx(alone.score, abs=SCORE_STEP)
        assert together.truncated == alone.truncated
    else:
        assert isinstance(together, InvalidRequestError)
        assert together.code == alone.code


def test_predict_of_equal_tweets_computes_them_once(tiny_bundle: Bundle, engine: TorchScriptEngine) -> None:
    counting = CountingEngine(engine)
    outcomes = Classifier(tiny_bundle, counting).predict(["fire &amp; flood", "ok", "fire &  flood"] * 5)
    assert sum(map(len, counting.calls)) == 2
    assert outcomes[0] == outcomes[2] == outcomes[14]


def test_predict_cuts_micro_batches_by_their_tokens(tiny_bundle: Bundle, engine: TorchScriptEngine) -> None:
    counting = CountingEngine(engine)
    texts = [f"fire {'river ' * (n % 9)}{n}" for n in range(50)]
    Classifier(tiny_bundle, counting, batch_tokens=64).predict(texts)
    assert sum(map(len, counting.calls)) == 50
    assert all(sum(call) <= 64 for call in counting.calls)
    flat = [length for call in counting.calls for length in call]
    assert flat == sorted(flat)


def test_predict_of_several_windows_answers_in_order_as_for_one(
    tiny_bundle: Bundle, engine: TorchScriptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"fire {'river ' * (n % 7)}{n}" for n in range(100)]
    expected = Classifier(tiny_bundle, engine).predict(texts)
    monkeypatch.setattr("tweetclf.classifier.WINDOW_TWEETS", 16)
    counting = CountingEngine(engine)
    found = Classifier(tiny_bundle, counting, batch_tokens=100).predict(texts)
    assert sum(map(len, counting.calls)) == 100
    assert [o.score for o in found if isinstance(o, Prediction)] == pytest.approx(
        [o.score for o in expected if isinstance(o, Prediction)], abs=SCORE_STEP
    )


def test_predict_of_bad_texts_gives_errors_in_their_places(classifier: Classifier) -> None:
    outcomes = classifier.predict(
        ["fire", "", " \n\u200b", "http://a.example @bob", "x" * (MAX_TEXT_CHARS + 1), "flood"]
    )
    codes = [outcome.code if isinstance(outcome, InvalidRequestError) else "ok" for outcome in outcomes]
    assert codes == ["ok", "EMPTY_TEXT", "EMPTY_TEXT", "EMPTY_TEXT", "TEXT_TOO_LONG", "ok"]


def test_predict_of_nothing_gives_nothing(classifier: Classifier) -> None:
    assert classifier.predict([]) == []


def test_predict_of_a_long_tweet_reads_its_beginning_and_says_so(classifier: Classifier) -> None:
    long = "fire " * 40
    ids = classifier.encode([long])[0]
    assert len(ids) == MAX_TOKENS
    assert ids[-1] == 3  # [SEP] closes a cut tweet too
    assert predictions(classifier, [long, "fire"])[0].truncated is True
    assert predictions(classifier, [long, "fire"])[1].truncated is False


@pytest.mark.parametrize(
    "text",
    [
        "\u0301" * 500 + "a",
        "\U0001f525" * 3000,
        "\u202eabc\u202c fire",
        "a\x00b fire",
        "\ud800 fire",
        "\u0627\u0644\u0632\u0644\u0632\u0627\u0644",
    ],
)
def test_predict_of_odd_unicode_answers(classifier: Classifier, text: str) -> None:
    assert 0.0 <= predictions(classifier, [text])[0].score <= 1.0


def test_replay_golden_of_the_exported_model_differs_by_rounding_only(classifier: Classifier) -> None:
    assert classifier.replay_golden() < 1e-5


def tampered(tiny_bundle_dir: Path, tmp_path: Path, **values: object) -> Bundle:
    folder = Path(shutil.copytree(tiny_bundle_dir, tmp_path / "bundle"))
    lines = (folder / "golden.jsonl").read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **values})
    (folder / "golden.jsonl").write_text("\n".join(lines) + "\n")
    facts = json.loads((folder / "bundle.json").read_text())
    facts["files"]["golden.jsonl"] = sha256_of(folder / "golden.jsonl")
    (folder / "bundle.json").write_text(json.dumps(facts))
    return load_bundle(folder)


def test_replay_golden_with_another_probability_names_the_line(
    tiny_bundle_dir: Path, tmp_path: Path, engine: TorchScriptEngine
) -> None:
    bundle = tampered(tiny_bundle_dir, tmp_path, probabilities=[0.999, 0.001])
    with pytest.raises(BundleError, match=r"golden.jsonl line 2: p\(disaster\) is .* expected 0.001"):
        Classifier(bundle, engine).replay_golden()


def test_replay_golden_with_other_ids_names_the_line(
    tiny_bundle_dir: Path, tmp_path: Path, engine: TorchScriptEngine
) -> None:
    bundle = tampered(tiny_bundle_dir, tmp_path, input_ids=[2, 5, 3])
    with pytest.raises(BundleError, match="line 2: this process tokenises"):
        Classifier(bundle, engine).replay_golden()


def test_engine_of_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"not a module")
    with pytest.raises(BundleError, match="cannot be loaded as TorchScript"):
        TorchScriptEngine(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_engine_on_a_gpu_that_is_not_there_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="torch finds no GPU"):
        TorchScriptEngine(tiny_bundle.model_path, "cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_engine_on_a_gpu_answers_in_half_precision_within_its_tolerance(tiny_bundle: Bundle) -> None:
    assert Classifier(tiny_bundle, TorchScriptEngine(tiny_bundle.model_path, "cuda:0")).replay_golden() < 1e-2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=20),
    st.sampled_from([0.1445, 0.3, 0.49996, 0.5]),
    st.sampled_from([0.5, 0.50004, 0.7, 0.8555]),
)
def test_predict_says_the_label_and_decision_that_a_caller_derives_from_the_shown_score(
    tiny_bundle: Bundle, margins: list[float], below: float, from_on: float
) -> None:
    # Margins on both sides of each threshold, closer than the decimals that are shown.
    margins += [1.5 * math.log(edge / (1 - edge)) for at in (below, from_on, 0.5) for edge in (at - 4e-5, at + 4e-5)]

    class GivenEngine:
        name, device, precision, tolerance, batch_tokens = "given", "cpu", "float32", 0.0, 512

        def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
            return np.array([[0.0, margins[ids[-2] % len(margins)]] for ids in input_ids], dtype=np.float32)

        def warm_up(self, max_tokens: int) -> None:
            """Needs none."""

    given_logits = Classifier(tiny_bundle, GivenEngine(), Thresholds(below, from_on))
    for prediction in predictions(
        given_logits, ["fire " + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    ):
        score = json.loads(json.dumps(prediction.score))
        assert score == round(score, 4)
        assert prediction.label == ("disaster" if score >= 0.5 else "not_disaster")
        decision = "disaster" if score >= from_on else "not_disaster" if score < below else "review"
        assert prediction.decision == decision


def test_predict_of_a_golden_sample_is_computed_each_time_so_that_a_probe_tests_the_network(
    tiny_bundle: Bundle, engine: TorchScriptEngine
) -> None:
    counting = CountingEngine(engine)
    keeping = Classifier(tiny_bundle, counting, cache_bytes=1 << 20)
    texts = [sample.text for sample in tiny_bundle.golden]
    first, second = keeping.predict(texts), keeping.predict(texts)
    assert first == second
    assert sum(map(len, counting.calls)) == 2 * len(texts)


def test_predict_with_kept_answers_says_the_same_and_computes_once(
    tiny_bundle: Bundle, engine: TorchScriptEngine, classifier: Classifier
) -> None:
    counting = CountingEngine(engine)
    keeping = Classifier(tiny_bundle, counting, cache_bytes=1 << 20)
    texts = ["fire", "", "flood in town", "FIRE", "fire", "storm"]
    expected = [getattr(outcome, "label", "error") for outcome in classifier.predict(texts)]
    for _ in range(3):
        outcomes = keeping.predict(texts)
        assert [getattr(outcome, "label", "error") for outcome in outcomes] == expected
        assert [getattr(outcome, "score", -1.0) for outcome in outcomes] == pytest.approx(
            [getattr(outcome, "score", -1.0) for outcome in classifier.predict(texts)], abs=SCORE_STEP
        )
    distinct = len({normalise(text) for text in texts if text})
    assert sum(map(len, counting.calls)) == distinct
    facts = keeping.cache_facts()
    assert (facts["entries"], facts["misses"], facts["hits"]) == (distinct, distinct, 2 * distinct)


def test_cache_facts_of_a_classifier_that_keeps_nothing_says_so(classifier: Classifier) -> None:
    assert classifier.cache_facts() == {"limit_bytes": 0}
