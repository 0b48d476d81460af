"""The handler serves with the engine of model-config.yaml and says which."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from handler.tweets_handler import TweetsHandler
from tests.handler.conftest import FakeContext
from tweetclf.bundle import Bundle


def test_handle_with_the_int8_engine_answers_and_names_it(tiny_int8_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(tiny_int8_bundle.path, tmp_path / "bundle")
    handler = TweetsHandler()
    handler.initialize(FakeContext(tmp_path, {"handler": {"engine": "openvino", "torch_threads": 1}}))
    context = FakeContext(tmp_path)
    first, second = handler.handle([{"body": b"fire near the river"}] * 2, context)
    assert first == second
    assert json.loads(first)["label"] in ("disaster", "not_disaster")
    assert context.response_headers[0]["x-engine"] == "openvino"
    facts = json.loads(handler.describe_handle())
    assert (facts["engine"], facts["device"]) == ("openvino", "cpu")
    assert facts["engine_taken_because"] == "set in model-config.yaml"


def test_handle_without_a_cache_computes_each_time(tiny_int8_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(tiny_int8_bundle.path, tmp_path / "bundle")
    handler = TweetsHandler()
    handler.initialize(FakeContext(tmp_path, {"handler": {"cache_bytes": 0, "torch_threads": 1}}))
    assert json.loads(handler.describe_handle())["answer_cache"] == {"limit_bytes": 0}
