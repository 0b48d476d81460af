"""The handler without a server: routing per item, statuses, loading and its refusals."""

from __future__ import annotations

import gc
import gzip
import json
import logging
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from handler import tweets_handler
from handler.tweets_handler import TweetsHandler
from tests.conftest import ROOT
from tests.handler.conftest import FakeContext
from tweetclf.errors import BundleError, InvalidRequestError
from tweetclf.request import Shape, TweetRequest

JSON = {"Content-Type": "application/json"}


def answers(handler: TweetsHandler, context: FakeContext, *bodies: bytes) -> list[Any]:
    results = handler.handle([{"body": bytearray(body)} for body in bodies], context)
    assert len(results) == len(bodies)
    return [json.loads(result) for result in results]


def test_handle_of_a_mixed_batch_answers_each_in_its_own_form(handler: TweetsHandler, context: FakeContext) -> None:
    context.request_headers = {1: JSON, 2: JSON, 3: JSON, 4: JSON}
    single, many, v1, v2, broken, odd = answers(
        handler,
        context,
        b"fire near the river",
        b'["flood", "", {"text": "storm", "id": 4}]',
        b'{"instances": ["fire near the river"]}',
        b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["fire near the river"]}]}',
        b'{"text": ',
        b"\xff",
    )
    assert single["label"] in ("disaster", "not_disaster")
    assert [entry.get("error", {}).get("code") for entry in many["predictions"]] == [None, "EMPTY_TEXT", None]
    assert many["predictions"][1]["error"]["index"] == 1
    assert many["predictions"][2]["id"] == 4
    assert v1["predictions"] == [single]
    assert v2["outputs"][1]["data"] == [single["score"]]
    assert broken["error"]["code"] == "BAD_JSON"
    assert odd["error"]["code"] == "NOT_UTF8"
    assert context.statuses == {4: 400, 5: 400}
    assert context.response_headers[0] == {
        "content-type": "application/json",
        "x-model-version": "2026.01.01-tiny",
        "x-engine": "torchscript",
    }


def test_handle_of_explain_and_predict_in_one_batch_routes_each(handler: TweetsHandler, context: FakeContext) -> None:
    context.request_headers = {0: {"explain": "False"}, 1: {"explain": "True"}, 2: {}}
    first, explained, last = answers(handler, context, b"fire", b"fire", b"fire")
    assert first == last
    assert explained["error"]["code"] == "NOT_IMPLEMENTED"
    assert context.statuses == {1: 501}


def test_handle_of_describe_gives_version_figures_and_hashes(handler: TweetsHandler, context: FakeContext) -> None:
    context.request_headers = {0: {"describe": "True"}}
    (facts,) = map(json.loads, handler.handle([{}], context))
    assert facts["model_version"] == "2026.01.01-tiny"
    assert facts["bundle"]["dev"] == {"f1": 0.5}
    assert set(facts["bundle"]["files"]) == {"model.pt", "tokenizer.json", "golden.jsonl"}
    assert facts["thresholds"] == {"not_disaster_below": 0.3, "disaster_from": 0.7}
    assert facts["golden"]["samples"] == 4
    assert (facts["engine"], facts["device"]) == ("torchscript", "cpu")
    assert facts["engine_taken_because"]
    assert facts["answer_cache"]["limit_bytes"] == 32 << 20


@pytest.mark.parametrize(
    ("offset_ms", "code"), [(60_000, None), (-10, "DEADLINE")], ids=["in the future", "in the past"]
)
def test_handle_with_a_deadline_answers_only_in_time(
    handler: TweetsHandler, context: FakeContext, offset_ms: int, code: str | None
) -> None:
    context.request_headers = {0: {"X-Deadline-Ms": str(time.time() * 1000 + offset_ms)}}
    first, second = answers(handler, context, b"fire", b"fire")
    assert first.get("error", {}).get("code") == code
    assert "label" in second
    assert context.statuses == ({0: 504} if code else {})


@pytest.mark.parametrize("header", ["Describe", "describe", "Explain", "EXPLAIN"])
def test_handle_with_a_callers_header_of_torchserves_name_classifies(
    handler: TweetsHandler, context: FakeContext, header: str
) -> None:
    context.request_headers = {0: {"explain": "False", header: "True"}}
    (answer,) = answers(handler, context, b"fire")
    assert answer["label"] in ("disaster", "not_disaster")


@pytest.mark.parametrize(
    "value", ["soon", "", "1_0", "nan", "inf", "-inf", "1e999", "-5", "9" * 17, "\u0661", "0x5", "1 2"]
)
def test_handle_with_a_deadline_that_is_no_number_says_so(
    handler: TweetsHandler, context: FakeContext, value: str
) -> None:
    context.request_headers = {0: {"x-deadline-ms": value}}
    (answer,) = answers(handler, context, b"fire")
    assert answer["error"]["code"] == "WRONG_TYPE"


class Recorder:
    """A classifier that writes down its bounds."""

    def __init__(self, classifier: Any) -> None:
        self.bundle, self.engine, self.cache_facts = classifier.bundle, classifier.engine, classifier.cache_facts
        self.bounds: list[Any] = []

    def predict(self, texts: Any, give_up_at: Any) -> list[Any]:
        self.bounds.append(give_up_at)
        return [InvalidRequestError("EMPTY_TEXT", "recorded") for _ in texts]


@pytest.fixture
def recorded(handler: TweetsHandler, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(handler._classifier)
    monkeypatch.setattr(handler, "_classifier", recorder)
    return recorder


def test_handle_with_a_deadline_bounds_the_work_of_that_request_alone(
    handler: TweetsHandler, context: FakeContext, recorded: Recorder
) -> None:
    before = time.monotonic()
    context.request_headers = {0: {"x-deadline-ms": str(int(time.time() * 1000) + 5_000)}, 1: JSON}
    answers(handler, context, b"fire", b'["flood", "storm"]')
    ((own, *others),) = recorded.bounds
    assert own <= time.monotonic() + 5
    assert len(set(others)) == 1
    assert len(others) == 2
    assert before + handler._config.batch_seconds <= others[0]


def test_handle_without_deadlines_gives_one_bound_that_began_before_reading(
    handler: TweetsHandler, context: FakeContext, recorded: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.monotonic()
    clock = iter([begun])
    monkeypatch.setattr("handler.tweets_handler.time.monotonic", lambda: next(clock, begun + 1))
    answers(handler, context, b"fire", b"flood")
    assert recorded.bounds == [begun + handler._config.batch_seconds]


def test_handle_when_the_time_is_over_reads_no_further_body(
    handler: TweetsHandler, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.monotonic()
    clock = iter([begun, begun])
    monkeypatch.setattr("handler.tweets_handler.time.monotonic", lambda: next(clock, begun + 10_000))
    monkeypatch.setattr(
        "handler.tweets_handler.parse_request", lambda *_: pytest.fail("was read") if context.statuses else request
    )
    request = TweetRequest(Shape.MANY, [])
    first, late = answers(handler, context, b"[]", b"flood")
    assert first == {"predictions": []}
    assert late["error"]["code"] == "DEADLINE"


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"content-encoding": "gzip"}, gzip.compress(b"fire", mtime=0), None),
        ({"content-encoding": "deflate"}, zlib.compress(b"fire"), None),
        ({"content-encoding": "gzip", **JSON}, gzip.compress(b'"fire"', mtime=0), None),
        ({"content-encoding": "br"}, b"fire", "UNSUPPORTED_ENCODING"),
        ({"transfer-encoding": "gzip, chunked"}, b"fire", "UNSUPPORTED_ENCODING"),
        ({"content-transfer-encoding": "base64"}, b"ZmlyZQ==", "UNSUPPORTED_ENCODING"),
        ({"content-encoding": "gzip"}, b"fire", "BAD_ENCODING"),
        ({"content-encoding": "gzip"}, gzip.compress(b" " * 7_000_000), "BODY_TOO_LARGE"),
        ({"content-type": "text/csv"}, b"fire", "UNSUPPORTED_MEDIA_TYPE"),
        ({"content-type": "text/plain; charset=iso-2022-jp"}, b"fire", "UNSUPPORTED_CHARSET"),
    ],
    ids=range(10),
)
def test_handle_of_declared_encodings_reads_or_refuses_them_by_name(
    handler: TweetsHandler, context: FakeContext, headers: dict[str, str], body: bytes, code: str | None
) -> None:
    context.request_headers = {0: headers}
    answer, alone = answers(handler, context, body, b"fire")
    assert answer.get("error", {}).get("code") == code
    assert code or answer == alone


V2 = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["fire"]}]}'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-deadline-ms": "5"}, V2),
        ({"inference-header-content-length": "80"}, V2 + b"\x04\x00\x00\x00fire"),
        ({}, V2.replace(b"BYTES", b"FP32")),
        ({}, V2.replace(b"fire", b"")),
        ({}, b'{"instances": 5}'),
        ({}, b'{"instances": [""]}'),
        ({}, b'{"inputs": "fire"}'),
    ],
)
def test_handle_of_a_bad_request_of_another_protocol_has_its_form_of_error(
    handler: TweetsHandler, context: FakeContext, headers: dict[str, str], body: bytes
) -> None:
    context.request_headers = {0: {**JSON, **headers}}
    (answer,) = answers(handler, context, body)
    assert answer["error"].partition(":")[0] in InvalidRequestError.STATUS_BY_CODE
    assert context.statuses[0] >= 400


def test_handle_of_a_grpc_call_of_open_inference_answers_what_torchserve_can_read(
    handler: TweetsHandler, context: FakeContext
) -> None:
    """TorchServe 0.12 encodes the texts as base64 and reads these keys from the answer without asking."""
    context.request_headers = {0: {"body": {"content-type": "application/json"}}}
    body = (
        b'{"id":"","model_name":"tweets","inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["ZmlyZQ=="]}]}'
    )
    answer, alone = answers(handler, context, body, b"fire")
    assert [type(answer[key]) for key in ("id", "model_name", "model_version", "outputs")] == [str, str, str, list]
    (tensor,) = answer["outputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("error", "BYTES", [1])
    assert "NOT_IMPLEMENTED" in tensor["data"][0]
    assert "label" in alone


class FailsOn:
    """An engine with a fault: it dies on inputs of one length."""

    name, device, tolerance = "faulty", "cpu", 1e-4

    def __init__(self, engine: Any, length: int) -> None:
        self.engine, self.length = engine, length

    def logits(self, input_ids: Any) -> Any:
        if any(len(ids) == self.length for ids in input_ids):
            raise RuntimeError("secret tweet text in a message")
        return self.engine.logits(input_ids)


def test_handle_when_the_engine_fails_on_one_request_answers_the_others(
    model_dir: Path, context: FakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    handler = TweetsHandler()
    handler.initialize(FakeContext(model_dir))
    assert handler._classifier is not None
    expected = answers(handler, context, b"fire", b"flood")
    failing = len(handler._classifier.encode(["fire fire fire"])[0])
    handler._classifier.engine = FailsOn(handler._classifier.engine, failing)
    with caplog.at_level(logging.DEBUG):
        first, bad, last = answers(handler, context, b"fire", b"fire fire fire", b"flood")
    assert [first, last] == expected
    assert bad["error"]["code"] == "INTERNAL"
    assert context.statuses == {1: 500}
    assert "request-1" in caplog.text
    assert "secret" not in caplog.text


def test_handle_logs_no_text(handler: TweetsHandler, context: FakeContext, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answers(handler, context, b"marker7781 fire", b'{"marker7781', b"\xffmarker7781", b"", b"marker7781" * 2000)
    assert "marker7781" not in caplog.text


def test_handle_before_initialize_answers_500_and_does_not_raise(context: FakeContext) -> None:
    (answer,) = answers(TweetsHandler(), context, b"fire")
    assert answer["error"]["code"] == "INTERNAL"
    assert context.statuses == {0: 500}


def test_initialize_sets_the_threads_of_the_config(model_dir: Path) -> None:
    before = torch.get_num_threads()
    try:
        handler = TweetsHandler()
        handler.initialize(FakeContext(model_dir, {"handler": {"torch_threads": 1, "disaster_from": 0.9}}))
        assert torch.get_num_threads() == 1
        facts = json.loads(handler.describe_handle())
        assert facts["torch_threads"] == 1
        assert facts["thresholds"]["disaster_from"] == 0.9
    finally:
        torch.set_num_threads(before)


def test_initialize_with_a_damaged_model_names_the_file(model_dir: Path) -> None:
    (model_dir / "bundle" / "model.pt").write_bytes(b"swapped")
    with pytest.raises(BundleError, match=r"model.pt has sha256"):
        TweetsHandler().initialize(FakeContext(model_dir))


def test_initialize_with_an_unknown_setting_names_it(model_dir: Path) -> None:
    with pytest.raises(BundleError, match=r"unknown keys \['torch_thread'\]"):
        TweetsHandler().initialize(FakeContext(model_dir, {"handler": {"torch_thread": 1}}))


def test_initialize_with_code_from_elsewhere_is_refused(model_dir: Path) -> None:
    (model_dir / "MAR-INF").mkdir()
    with pytest.raises(BundleError, match=r"tweetclf was imported from .* remove that path from PYTHONPATH"):
        TweetsHandler().initialize(FakeContext(model_dir))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_initialize_with_a_gpu_id_but_no_gpu_runs_on_the_cpu(model_dir: Path) -> None:
    handler = TweetsHandler()
    handler.initialize(FakeContext(model_dir, gpu_id=0))
    assert json.loads(handler.describe_handle())["device"] == "cpu"


@pytest.mark.parametrize(("variables", "warnings"), [({}, 1), ({tweets_handler.PROTECTED: "1"}, 0)])
def test_initialize_when_torchserve_is_the_unprotected_one_then_warns(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], warnings: int
) -> None:
    told: list[str] = []
    monkeypatch.setattr(tweets_handler.logger, "warning", told.append)
    monkeypatch.delenv(tweets_handler.PROTECTED, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    TweetsHandler().initialize(FakeContext(model_dir))
    assert len(told) == warnings
    assert all("torchserve-hardened" in line for line in told)


def test_handler_module_has_one_class_since_torchserve_refuses_a_second() -> None:
    """Source: TorchServe 0.12, ts/utils/util.py, list_classes_from_module."""
    classes = [one for one in vars(tweets_handler).values() if isinstance(one, type)]
    assert [one for one in classes if one.__module__ == "handler.tweets_handler"] == [TweetsHandler]


def test_import_of_the_handler_leaves_heavy_modules_out() -> None:
    code = "import sys, handler.tweets_handler; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    for module in ("transformers", "peft", "pandas", "sklearn", "lightning", "huggingface_hub", "training", "export"):
        assert f"'{module}'" not in result.stdout


def test_handle_gives_small_requests_their_answers_when_a_bulk_job_uses_up_the_time(
    model_dir: Path, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = TweetsHandler()
    # Some 3,000 micro-batches of 20 ms are more than the time, on a slow machine and on a fast one.
    handler.initialize(FakeContext(model_dir, {"handler": {"batch_seconds": 8, "batch_tokens": 16}}))
    engine = handler._classifier.engine
    logits = engine.logits
    monkeypatch.setattr(engine, "logits", lambda ids: time.sleep(0.02) or logits(ids))
    bulk = json.dumps([f"river {n} rises" for n in range(10_000)]).encode()
    context.request_headers = {0: JSON}
    many, single = answers(handler, context, bulk, b"fire")
    assert single["label"] in ("disaster", "not_disaster")
    codes = {entry.get("error", {}).get("code", "ok") for entry in many["predictions"]}
    assert codes == {"ok", "DEADLINE"}
    assert context.statuses == {}
    late = next(index for index, entry in enumerate(many["predictions"]) if "error" in entry)
    assert many["predictions"][late]["error"]["index"] == late


@pytest.mark.parametrize("body", [b'{"text":' * 5_000, b'{"text": "half', b"\xff\xfe", b'[{"text": 5}]', b""])
def test_handle_of_a_bad_body_keeps_nothing_of_its_batch_alive(
    handler: TweetsHandler, context: FakeContext, body: bytes
) -> None:
    """Without the cycle collector's help: it runs too seldom for bodies of megabytes."""
    gc.collect()
    # Other tests may hold errors of their own.
    before = {id(one) for one in gc.get_objects() if type(one) is InvalidRequestError}
    gc.disable()
    try:
        handler.handle([{"body": body}, {"body": b"Flood in town"}], context)
        kept = [one for one in gc.get_objects() if type(one) is InvalidRequestError and id(one) not in before]
    finally:
        gc.enable()
    assert not kept
