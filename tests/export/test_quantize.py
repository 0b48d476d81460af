"""The int8 network is made with the fastest setting that passes the gate; its calibration texts are ours and varied."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from export import int8_gate
from export import quantize as module
from export.__main__ import main
from export.gate_texts import calibration_texts
from export.int8_gate import Fidelity, measure_fidelity
from export.packed import PackedClassifier, PackedNetwork
from export.quantize import SETTINGS, QuantizationError, Setting, quantize, require_fidelity, write_int8
from export.trace import PROOF_SHAPES, prove_equal
from tests.conftest import MAX_TOKENS
from tests.tiny_model import TinyClassifier
from training.data.encoding import TweetEncoder
from tweetclf.engines.openvino import import_openvino
from tweetclf.engines.processor import fast_in_int8, int8_instructions


class ShiftedEngine:
    """Answers as the classifier does, with every n-th margin turned round."""

    name, device, tolerance = "shifted", "cpu", 0.1

    def __init__(self, classifier: TinyClassifier, turned: Sequence[tuple[int, ...]]) -> None:
        self.classifier, self.turned = classifier, set(turned)

    def logits(self, input_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        rows = []
        for ids in input_ids:
            with torch.no_grad():
                row = self.classifier(torch.tensor([list(ids)]), torch.ones(1, len(ids), dtype=torch.int64))[0].numpy()
            rows.append(row[::-1] if tuple(ids) in self.turned else row)
        return np.array(rows, dtype=np.float32)


def some_rows(count: int) -> list[list[int]]:
    return [[2, 5 + index % 30, 5 + index // 30, 3] for index in range(count)]


def test_packed_classifier_equals_the_eager_one(tiny_classifier: TinyClassifier) -> None:
    packed = PackedClassifier(PackedNetwork(tiny_classifier.encoder, tiny_classifier.head)).eval()
    assert prove_equal(packed, tiny_classifier, PROOF_SHAPES) < 1e-4


def test_calibration_texts_are_varied_and_none_is_held_out_too() -> None:
    calibration, held_out = calibration_texts()
    assert len(calibration) >= 200
    assert len(held_out) >= 67
    assert len({*calibration, *held_out}) == len(calibration) + len(held_out)


@pytest.mark.real_data
def test_calibration_texts_hold_no_real_tweet(real_data: Path) -> None:
    real = set()
    for name in ("train.csv", "test.csv"):
        with (real_data / name).open(encoding="utf-8", newline="") as file:
            real |= {row["text"].strip().lower() for row in csv.DictReader(file)}
    calibration, held_out = calibration_texts()
    assert not [text for text in (*calibration, *held_out) if text.strip().lower() in real]


def test_measure_fidelity_of_the_same_model_is_perfect(tiny_classifier: TinyClassifier) -> None:
    fidelity = measure_fidelity(tiny_classifier, ShiftedEngine(tiny_classifier, []), some_rows(40), 1.5, "rows")
    assert (fidelity.n, fidelity.agreement, fidelity.largest_score_drift) == (40, 1.0, 0.0)
    require_fidelity(fidelity)


@pytest.mark.parametrize(("turned", "passes"), [(8, True), (9, False)])
def test_require_fidelity_stops_when_more_labels_differ_than_chance_explains(
    tiny_classifier: TinyClassifier, monkeypatch: pytest.MonkeyPatch, turned: int, passes: bool
) -> None:
    monkeypatch.setattr(int8_gate, "LARGEST_MEAN_DRIFT", 1.0)  # turned round, a score moves by all it can
    rows = some_rows(200)
    engine = ShiftedEngine(tiny_classifier, [tuple(row) for row in rows[:turned]])
    fidelity = measure_fidelity(tiny_classifier, engine, rows, 1.5, "rows")
    assert fidelity.differing == turned
    assert fidelity.agreement == 1 - turned / 200
    assert fidelity.largest_score_drift > 0
    if passes:
        require_fidelity(fidelity)
    else:
        with pytest.raises(QuantizationError, match=r"agreement 0.9550 of 0.9600 needed, margin -1 of 200 rows"):
            require_fidelity(fidelity)


def test_quantize_without_nncf_says_what_to_install(
    tiny_classifier: TinyClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(QuantizationError, match=r"needs openvino and nncf .* or export with --no-int8"):
        quantize(tiny_classifier, some_rows(4), tmp_path / "model_int8.xml")


@pytest.fixture
def no_real_tweets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISASTER_TWEETS_DATA", raising=False)


@pytest.mark.usefixtures("no_real_tweets")
def test_write_int8_records_versions_and_fidelity(
    tiny_classifier: TinyClassifier, tiny_bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Random weights stand on no side for sure.
    monkeypatch.setattr(int8_gate, "LARGEST_DIFFERING_SHARE", 0.5)
    monkeypatch.setattr(int8_gate, "LARGEST_MEAN_DRIFT", 0.5)
    encoder = TweetEncoder(tiny_bundle_dir / "tokenizer.json", MAX_TOKENS)
    facts = write_int8(tiny_classifier, encoder, 1.5, tmp_path / "model_int8.xml")
    assert (tmp_path / "model_int8.bin").is_file()
    assert set(facts) == {
        *("openvino", "nncf", "calibration_texts", "weight_bits", "measured_with", "setting", "refused_settings"),
        *("fidelity", "gate"),
    }
    assert (facts["setting"], facts["refused_settings"]) == ("all matrices in int8", [])
    assert facts["weight_bits"] == (8 if fast_in_int8() else 7)
    assert facts["measured_with"] == list(int8_instructions())
    assert facts["fidelity"]["texts"] == "own-written tweets held out"
    assert facts["fidelity"]["n"] == 67
    # Quantised, and not a copy of the original that would agree in everything.
    assert facts["fidelity"]["largest_score_drift"] > 0


@pytest.mark.usefixtures("no_real_tweets")
def test_write_int8_tries_slower_settings_until_one_passes_and_stops_when_none_does(
    tiny_classifier: TinyClassifier, tiny_bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    differing = iter([30, 20, 10])
    tried: list[tuple[str, int]] = []

    def measured(*_: object) -> Fidelity:
        return Fidelity("texts", 1_000, next(differing), 0.01, 0.02, 0.03)

    def quantized(*arguments: Any) -> None:
        tried.append((arguments[3].name, arguments[4]))

    monkeypatch.setattr(module, "measure_fidelity", measured)
    monkeypatch.setattr(module, "quantize", quantized)
    monkeypatch.setattr(module, "OpenVinoEngine", lambda *_, **__: None)
    monkeypatch.setattr(module, "fast_in_int8", lambda: False)
    encoder = TweetEncoder(tiny_bundle_dir / "tokenizer.json", MAX_TOKENS)
    facts = write_int8(tiny_classifier, encoder, 1.5, tmp_path / "model_int8.xml")
    assert tried == [(setting.name, 7) for setting in SETTINGS]
    assert facts["setting"] == SETTINGS[2].name
    assert [refused["agreement"] for refused in facts["refused_settings"]] == [0.97, 0.98]
    differing = iter([30, 20, 16])
    with pytest.raises(QuantizationError, match=r"agreement 0\.9840 of 0\.9850 needed, margin -1 of 1,000 texts"):
        write_int8(tiny_classifier, encoder, 1.5, tmp_path / "model_int8.xml")


@pytest.mark.usefixtures("no_real_tweets")
def test_write_int8_where_openvino_fails_says_so(
    tiny_classifier: TinyClassifier, tiny_bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError("no kernels for this processor")

    monkeypatch.setattr(module, "quantize", fail)
    encoder = TweetEncoder(tiny_bundle_dir / "tokenizer.json", MAX_TOKENS)
    with pytest.raises(QuantizationError, match=r"no kernels for this processor\); export with --no-int8"):
        write_int8(tiny_classifier, encoder, 1.5, tmp_path / "model_int8.xml")


@pytest.mark.parametrize(("setting", "matrices"), [(SETTINGS[0], 8), (SETTINGS[1], 7), (SETTINGS[2], 6)])
def test_quantize_leaves_what_the_setting_names_in_float32(
    tiny_classifier: TinyClassifier, tmp_path: Path, setting: Setting, matrices: int
) -> None:
    path = tmp_path / "model_int8.xml"
    quantize(tiny_classifier, some_rows(4), path, setting)
    model = import_openvino().Core().read_model(path)
    weights = [
        node.input_value(1).get_node()
        for node in model.get_ops()
        if node.get_type_name() == "MatMul"
        and "linear" in node.get_friendly_name()
        and "layers" in node.get_friendly_name()
    ]
    assert sum(weight.get_type_name() != "Constant" for weight in weights) == matrices  # int8 ones are scaled first


@pytest.mark.parametrize(("options", "expected"), [([], True), (["--no-int8"], False)])
def test_main_makes_int8_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], expected: bool
) -> None:
    asked: list[bool] = []

    def build(*_: object, int8: bool, **__: object) -> None:
        asked.append(int8)
        raise QuantizationError("enough")

    monkeypatch.setattr("export.build.build", build)
    assert main(["--archive", str(tmp_path / "a.mar"), *options]) == 1
    assert asked == [expected]
