"""The handler keeps an audit log when it is asked to, and serves nothing unaudited then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handler.tweets_handler import TweetsHandler
from tests.handler.conftest import FakeContext
from tweetclf.errors import BundleError


@pytest.fixture
def section(tmp_path: Path) -> dict[str, object]:
    """The settings of an audit log in a folder of its own."""
    key_file = tmp_path / "key"
    key_file.write_text("0123456789abcdef" * 4)
    key_file.chmod(0o400)
    return {"torch_threads": 1, "audit_log": str(tmp_path / "audit.jsonl"), "audit_key_file": str(key_file)}


def test_a_batch_leaves_one_line_an_item_and_no_text(model_dir: Path, section: dict[str, object]) -> None:
    handler, context = TweetsHandler(), FakeContext(model_dir, {"handler": section})
    handler.initialize(context)
    bodies = [b"Flood water is over the bridge", b'["fire in town", 5]', b"\xff"]
    answers = handler.handle([{"body": body} for body in bodies], context)
    lines = [json.loads(line) for line in Path(str(section["audit_log"])).read_text().splitlines()]
    assert [(line["request_id"], line["index"]) for line in lines] == [
        *(("request-0", 0), ("request-1", 0), ("request-1", 1))
    ]
    assert lines[0]["decision"] == json.loads(answers[0])["decision"]
    assert lines[2]["error"] == "WRONG_TYPE"
    assert "Flood" not in Path(str(section["audit_log"])).read_text()
    assert json.loads(handler.describe_handle())["audit_log"] == {"lost_lines": 0}


def test_a_log_that_cannot_be_kept_stops_the_load(model_dir: Path, section: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        TweetsHandler().initialize(FakeContext(model_dir, {"handler": {**section, "audit_log": "/proc/no/audit"}}))
