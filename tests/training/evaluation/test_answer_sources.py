from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.evaluation import answer_sources
from training.evaluation.answer_sources import AnswerError, ServerSource, ask, open_bundle

TEXTS = [
    "Flood in Marlow",
    "http://example.org/only-a-link",
    "the river and the fire " * 30,
    "this mixtape is fire",
] * 90
Reply = Callable[[list[str]], tuple[int, Any]]


def prediction(text: str, **changed: Any) -> dict[str, Any]:
    score = 0.8 if "flood" in text.lower() else 0.25
    label = "disaster" if score >= 0.5 else "not_disaster"
    return {"label": label, "score": score, "decision": "review", "model_version": "v1", **changed}


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], str]]:
    """Return a function: what to reply to a list of texts -> address of a server that does so."""
    servers = []

    def start(reply: Reply) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/predictions/tweets"
                status, body = reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ask_when_a_bundle_answers_in_chunks_keeps_the_order(tiny_bundle_dir: Path) -> None:
    source = open_bundle(tiny_bundle_dir)
    found = ask(source, TEXTS)
    alone = [source.answer([text])[0] for text in TEXTS[:4]]
    assert found.scores[:4] == pytest.approx([answer.score for answer in alone], nan_ok=True, abs=2e-4)
    assert np.array_equal(found.scores[:4], found.scores[-4:], equal_nan=True)
    assert found.errors[:4] == ("", "EMPTY_TEXT", "", "")
    assert found.decisions[1] == ""
    assert set(found.decisions) <= {"", "disaster", "not_disaster", "review"}


def test_server_source_when_asked_gives_each_text_its_own_answer(serve: Callable[[Reply], str]) -> None:
    asked: list[int] = []

    def reply(texts: list[str]) -> tuple[int, Any]:
        asked.append(len(texts))
        return 200, {
            "predictions": [
                {"error": {"code": "EMPTY_TEXT", "message": "", "index": index}} if "link" in text else prediction(text)
                for index, text in enumerate(texts)
            ]
        }

    source = ServerSource(serve(reply) + "/")
    found = ask(source, TEXTS)
    assert source.model_version == "v1"
    assert found.scores[:4] == pytest.approx([0.8, float("nan"), 0.25, 0.25], nan_ok=True)
    assert found.errors[:2] == ("", "EMPTY_TEXT")
    assert max(asked) > 100  # in lists, not one by one


def test_server_source_when_texts_outgrow_a_request_asks_in_parts(
    serve: Callable[[Reply], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def reply(texts: list[str]) -> tuple[int, Any]:
        sizes.append(len(json.dumps(texts, ensure_ascii=False).encode()))
        return 200, {"predictions": [prediction(text) for text in texts]}

    monkeypatch.setattr(answer_sources, "MAX_REQUEST_BYTES", 1_000)
    texts = ["flood " + "\u6c34" * 100, "sun"] * 20 + ["flood" * 1_000]
    answers = ServerSource(serve(reply)).answer(texts)
    assert [answer.score >= 0.5 for answer in answers] == ["flood" in text for text in texts]
    assert sorted(sizes)[-2] <= 1_000 < sorted(sizes)[-1]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, {"code": 500}, "HTTP 500 without a list of predictions"),
        (200, [1], "HTTP 200 without a list of predictions"),
        (200, {"predictions": [prediction("")] * 3}, "gave 3 predictions; expected 1"),
    ],
)
def test_server_source_when_the_answer_is_no_list_of_predictions_refuses(
    serve: Callable[[Reply], str], status: int, body: Any, message: str
) -> None:
    with pytest.raises(AnswerError, match=message):
        ServerSource(serve(lambda _: (status, body)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_version": "v2"}, "model v2 after v1"),
        ({"score": "high"}, "could not convert"),
        ({"error": "bad"}, "lacks a part or has it wrong"),
    ],
)
def test_server_source_when_a_later_prediction_is_wrong_refuses(
    serve: Callable[[Reply], str], changed: dict[str, Any], message: str
) -> None:
    replies = iter([prediction(""), prediction("", **changed)])
    source = ServerSource(serve(lambda _: (200, {"predictions": [next(replies)]})))
    with pytest.raises(AnswerError, match=message):
        source.answer(["x"])


def test_server_source_when_nobody_listens_says_how_to_start_a_server(serve: Callable[[Reply], str]) -> None:
    with pytest.raises(AnswerError, match="make serve"):
        ServerSource("http://127.0.0.1:9", timeout_s=2)


def test_server_source_when_the_address_is_none_refuses() -> None:
    with pytest.raises(AnswerError, match="expected an address"):
        ServerSource("localhost:8080")
