"""The gate of the int8 network: which texts, how much may differ, and what an export makes of its verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export import archive, bundle_writer
from export.gate_texts import GateTextsError, gate_fingerprint, gate_texts
from export.int8_gate import Fidelity, allowed_differences
from export.quantize import QuantizationError
from tweetclf.engines import processor
from tweetclf.engines.choice import int8_serves_here

FEW, MANY = 67, 1_024


@pytest.mark.parametrize(
    ("n", "differing", "mean_drift", "passes"),
    [
        (MANY, 15, 0.008, True),
        (MANY, 16, 0.008, False),
        (MANY, 0, 0.021, False),  # the labels alone say nothing of it
        (FEW, 4, 0.01, True),  # what chance gives a good network
        (FEW, 5, 0.01, False),
        (FEW, 0, 0.021, False),  # of few texts, the scores say more than the labels
    ],
)
def test_fidelity_passes_within_both_limits(n: int, differing: int, mean_drift: float, passes: bool) -> None:
    assert Fidelity("texts", n, differing, mean_drift, 0.05, 0.06).passes is passes


def test_allowed_differences_of_a_large_sample_are_its_share_and_of_a_small_one_more() -> None:
    assert [allowed_differences(n) for n in (1_000, 1_024, 10_000)] == [15, 15, 150]
    assert [allowed_differences(n) for n in (1, 67, 268)] == [1, 4, 9]


def test_summary_of_a_fidelity_states_the_margin() -> None:
    said = Fidelity("real tweets", MANY, 13, 0.0062, 0.05, 0.06).summary()
    assert said.startswith(
        "agreement 0.9873 of 0.9854 needed, margin 2 of 1,024 real tweets; mean score drift 0.0062 of"
    )


def test_gate_texts_takes_real_tweets_where_their_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["id,text", *(f'{number},"flood, day {number}"' for number in range(3_000)), '9,"http://a.example"']
    (tmp_path / "test.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("DISASTER_TWEETS_DATA", str(tmp_path))
    kind, texts = gate_texts(["ours"])
    assert kind == "real tweets"
    assert len(texts) == 1_024
    assert texts[:2] == ["flood, day 0", "flood, day 2"]  # spread over the file


@pytest.mark.parametrize(
    "content", [None, b"", b"id,tweet\n1,flood\n", b"id,text\n1,\xff\n", b"id,text\n", b"id,text\n1\n"]
)
def test_gate_texts_of_a_named_folder_without_readable_tweets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "test.csv").write_bytes(content)
    monkeypatch.setenv("DISASTER_TWEETS_DATA", str(tmp_path))
    with pytest.raises(GateTextsError, match=r"expected a folder with test\.csv"):
        gate_texts(["ours"])
    gate_fingerprint()  # asked before anything is built; it complains of nothing


def test_gate_texts_without_a_named_folder_takes_those_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISASTER_TWEETS_DATA", raising=False)
    assert gate_texts(["ours"]) == ("own-written tweets held out", ["ours"])


def test_inputs_hash_when_gate_texts_or_the_processor_change_then_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISASTER_TWEETS_DATA", raising=False)
    hashes = [archive.inputs_hash(tmp_path)]
    monkeypatch.setattr(archive, "fast_in_int8", lambda: not processor.fast_in_int8())
    hashes.append(archive.inputs_hash(tmp_path))
    monkeypatch.setenv("DISASTER_TWEETS_DATA", str(tmp_path))
    hashes.append(archive.inputs_hash(tmp_path))
    (tmp_path / "test.csv").write_text("id,text\n1,flood\n")
    hashes.append(archive.inputs_hash(tmp_path))
    (tmp_path / "test.csv").write_text("id,text\n1,fire\n")
    hashes.append(archive.inputs_hash(tmp_path))
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("setting", "fast", "served"),
    [("auto", True, True), ("auto", False, False), ("openvino", False, True), ("torchscript", True, False)],
)
def test_int8_serves_here_when_it_is_named_or_this_processor_is_fast_in_it(
    monkeypatch: pytest.MonkeyPatch, setting: str, fast: bool, served: bool
) -> None:
    monkeypatch.setattr("tweetclf.engines.choice.fast_in_int8", lambda: fast)
    assert int8_serves_here(setting) is served


@pytest.fixture
def int8_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, Any], list[str]]]:
    """Write the int8 facts of a bundle whose network is refused or passes; return them and the lines that were said."""

    def write(refusal: str, fast: bool) -> tuple[dict[str, Any], list[str]]:
        def write_int8(classifier: object, encoder: object, temperature: float, path: Path) -> dict[str, Any]:
            path.touch()
            path.with_suffix(".bin").touch()
            if refusal:
                raise QuantizationError(refusal)
            return {"gate": "agreement 1.0", "weight_bits": 8, "setting": "all"}

        monkeypatch.setattr(bundle_writer, "write_int8", write_int8)
        monkeypatch.setattr(bundle_writer, "int8_serves_here", lambda setting: fast)
        said: list[str] = []
        nothing: Any = SimpleNamespace()
        return bundle_writer._int8_facts(nothing, nothing, 1.0, tmp_path, said.append), said

    return write


def test_bundle_when_int8_fails_on_a_machine_that_would_not_serve_it_then_has_none_and_one_line_says_so(
    int8_facts: Callable[..., tuple[dict[str, Any], list[str]]], tmp_path: Path
) -> None:
    facts, said = int8_facts("differs\ntoo much", fast=False)
    assert facts == {}
    assert list(tmp_path.iterdir()) == []
    assert len(said) == 1
    assert said[0].startswith(
        "warning: the bundle has no int8 network, which this machine would not serve: differs too"
    )
    assert "\n" not in said[0]


def test_bundle_when_int8_fails_on_a_machine_that_would_serve_it_then_is_refused(
    int8_facts: Callable[..., tuple[dict[str, Any], list[str]]],
) -> None:
    with pytest.raises(QuantizationError, match="differs"):
        int8_facts("differs", fast=True)


@pytest.mark.parametrize(("fast", "use"), [(True, "serves it"), (False, "serves float32")])
def test_bundle_when_int8_passes_then_the_line_states_margin_and_use(
    int8_facts: Callable[..., tuple[dict[str, Any], list[str]]], tmp_path: Path, fast: bool, use: str
) -> None:
    facts, said = int8_facts("", fast=fast)
    assert facts["int8"]["gate"] == "agreement 1.0"
    assert len(list(tmp_path.iterdir())) == 2
    assert said == [f"int8 against float32: agreement 1.0 (8-bit weights, all; this machine {use})"]


def test_configured_engine_is_that_of_the_archive() -> None:
    assert bundle_writer.configured_engine() == "auto"
