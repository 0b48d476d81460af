"""The engine is the one asked for, or the fastest that is right here, and says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tweetclf.bundle import Bundle
from tweetclf.engines import choice, processor, torchscript
from tweetclf.engines.choice import open_engine
from tweetclf.errors import BundleError


def give_instructions(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(processor, "instructions", lambda: frozenset(names))


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    give_instructions(monkeypatch, "avx2", "avx_vnni")


def hide_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)


@pytest.mark.usefixtures("vnni")
def test_open_engine_auto_on_a_cpu_fast_in_int8_takes_openvino(tiny_int8_bundle: Bundle) -> None:
    engine, why = open_engine("auto", tiny_int8_bundle, "cpu", 1)
    assert engine.name == "openvino"
    assert "int8 faster" in why


def test_open_engine_auto_on_a_cpu_slow_in_int8_takes_torchscript(
    tiny_int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_instructions(monkeypatch, "avx2")
    engine, why = open_engine("auto", tiny_int8_bundle, "cpu", 1)
    assert engine.name == "torchscript"
    assert "none of avx512_vnni" in why


@pytest.mark.usefixtures("vnni")
def test_open_engine_auto_of_a_bundle_without_int8_takes_torchscript(tiny_bundle: Bundle) -> None:
    engine, why = open_engine("auto", tiny_bundle, "cpu", 1)
    assert (engine.name, why) == ("torchscript", "the bundle has no int8 model")


@pytest.mark.usefixtures("vnni")
def test_open_engine_auto_without_openvino_takes_torchscript(
    tiny_int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_openvino(monkeypatch)
    engine, why = open_engine("auto", tiny_int8_bundle, "cpu", 1)
    assert (engine.name, why) == ("torchscript", "the package openvino is not installed")


@pytest.mark.parametrize("setting", ["torchscript", "openvino"])
def test_open_engine_by_name_takes_it(tiny_int8_bundle: Bundle, setting: str) -> None:
    engine, why = open_engine(setting, tiny_int8_bundle, "cpu", 1)
    assert (engine.name, why) == (setting, "set in model-config.yaml")


def test_open_engine_openvino_that_cannot_run_is_refused(
    tiny_bundle: Bundle, tiny_int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match="the bundle has no int8 model"):
        open_engine("openvino", tiny_bundle, "cpu", 1)
    with pytest.raises(BundleError, match="was given cuda:0"):
        open_engine("openvino", tiny_int8_bundle, "cuda:0", 1)
    hide_openvino(monkeypatch)
    with pytest.raises(BundleError, match="openvino is not installed"):
        open_engine("openvino", tiny_int8_bundle, "cpu", 1)


@pytest.mark.usefixtures("vnni")
def test_open_engine_auto_with_a_gpu_takes_torchscript_on_it(
    tiny_int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[Any] = []
    monkeypatch.setattr(torchscript, "TorchScriptEngine", lambda path, device, *_: devices.append(device))
    assert "int8 is for the CPU" in open_engine("auto", tiny_int8_bundle, "cuda:0", 1)[1]
    assert devices == ["cuda:0"]


@pytest.mark.usefixtures("vnni")
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_open_engine_on_a_gpu_records_graphs_only_where_asked(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, cuda_graphs: bool
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torchscript, "TorchScriptEngine", lambda *arguments: asked.append(arguments[-1]))
    open_engine("auto", tiny_bundle, "cuda:0", 1, cuda_graphs=cuda_graphs)
    assert asked == [cuda_graphs]


@pytest.mark.usefixtures("vnni")
def test_open_engine_auto_with_a_precision_takes_torchscript_with_it(tiny_int8_bundle: Bundle) -> None:
    engine, why = open_engine("auto", tiny_int8_bundle, "cpu", 1, "float32")
    assert (engine.name, engine.precision) == ("torchscript", "float32")
    assert "precision: float32 is set" in why


@pytest.mark.parametrize(
    ("bits", "instructions"), [(8, "avx2"), (7, "avx2"), (7, "avx2 avx_vnni"), (8, "avx2 avx_vnni")]
)
def test_open_engine_auto_of_a_bundle_built_elsewhere_takes_what_is_right_here(
    tiny_int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, bits: int, instructions: str
) -> None:
    give_instructions(monkeypatch, *instructions.split())
    facts = {**tiny_int8_bundle.facts, "export": {"int8": {"weight_bits": bits}}}
    engine, _ = open_engine("auto", replace(tiny_int8_bundle, facts=facts), "cpu", 1)
    assert engine.name == ("openvino" if "avx_vnni" in instructions else "torchscript")


def test_open_engine_openvino_with_8_bit_weights_on_a_cpu_that_overflows_is_refused(
    tiny_int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_instructions(monkeypatch, "avx2")
    assert open_engine("openvino", tiny_int8_bundle, "cpu", 1)[0].name == "openvino"  # states nothing: 7 bits
    facts = {**tiny_int8_bundle.facts, "export": {"int8": {"weight_bits": 8}}}
    with pytest.raises(BundleError, match="8-bit weights overflow"):
        open_engine("openvino", replace(tiny_int8_bundle, facts=facts), "cpu", 1)


def test_open_engine_of_an_unknown_name_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="engine is 'onnx'; expected one of"):
        open_engine("onnx", tiny_bundle, "cpu", 1)
