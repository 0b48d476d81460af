"""Bad input among good neighbours: its own error, nobody else's; no 5xx, no restart, no text in a log."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import SCORE_STEP
from tests.serving.torchserve_process import TorchServeProcess

pytestmark = pytest.mark.serving

MARKER = "zqmarkerzq"  # stands in every text below; found in a log, it betrays it
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xyz"
MULTIPART_OF_A_LONG_HEADER = (
    b'--xyz\r\nContent-Disposition: form-data; name="text"' + b";" * 1_000_000 + (b"\r\n\r\nfire\r\n--xyz--\r\n")
)
PATH = "/predictions/tweets"
GOOD = [f"Flood water reaches the school on {street} street, roof rescue under way" for street in "ABCDEFGH"]


@dataclass(frozen=True)
class Bad:
    """A request and what must come back; code None means an ordinary answer."""

    name: str
    body: bytes
    status: int
    code: str | None
    content_type: str = ""
    path: str = PATH


def of(name: str, body: object, status: int, code: str | None, content_type: str = "", path: str = PATH) -> Bad:
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Bad(name, data, status, code, content_type, path)


BAD = [
    of("empty", b"", 400, "EMPTY_TEXT"),
    of("empty json string", '""', 400, "EMPTY_TEXT", JSON),
    of("empty json body", b"", 400, "BAD_JSON", JSON),
    of("blank", " \t\r\n \u00a0\u200b", 400, "EMPTY_TEXT"),
    of("only links", f"https://t.example/{MARKER} http://b.example", 400, "EMPTY_TEXT"),
    of("only mentions and dots", f"@{MARKER} ...", 400, "EMPTY_TEXT"),
    of("not utf-8", b"\xff\xfe" + MARKER.encode(), 400, "NOT_UTF8"),
    of("not utf-8 json", b'{"text": "\xe9' + MARKER.encode() + b'"}', 400, "NOT_UTF8", JSON),
    of("utf-16", MARKER.encode("utf-16"), 400, "NOT_UTF8"),
    of("broken json", f'{{"text": "{MARKER}', 400, "BAD_JSON", JSON),
    of("broken json as curl sends it", f'{{"text": "{MARKER}', 400, "BAD_JSON", "application/x-www-form-urlencoded"),
    of("nested beyond reason", b"[" * 100_000, 400, "BAD_JSON", JSON),
    of("nan", '{"text": "x", "id": NaN}', 400, "WRONG_TYPE", JSON),
    of("json as text/plain", {"text": MARKER}, 400, "WRONG_TYPE", "text/plain"),
    of("a dict as Python writes it", f"{{'text': '{MARKER}'}}", 400, "WRONG_TYPE", FORM),
    of("xml", f"<tweet>{MARKER}</tweet>", 415, "UNSUPPORTED_MEDIA_TYPE", "application/xml"),
    of("csv", f"id,text\n1,{MARKER}", 415, "UNSUPPORTED_MEDIA_TYPE", "text/csv"),
    of("iso-2022-jp", b"\x1b$BCO?L\x1b(B " + MARKER.encode(), 400, "NOT_UTF8"),
    of("another charset", MARKER, 415, "UNSUPPORTED_CHARSET", "text/plain; charset=utf-7"),
    of("unknown field", f"tweet={MARKER}&x=1", 400, "WRONG_TYPE", FORM),
    of("two texts", f"text={MARKER}&text=fire", 400, "BAD_FORM", FORM),
    of("key twice", f'{{"text": "{MARKER}", "text": "fire"}}', 400, "WRONG_TYPE", JSON),
    of("address in place of a body", b"", 400, "WRONG_TYPE", path=f"/invocations?text={MARKER}"),
    of("too many values", b"[" + b"1," * 300_000 + b"1]", 413, "TOO_MANY_ITEMS", JSON),
    of("long header in a form", MULTIPART_OF_A_LONG_HEADER, 400, "BAD_FORM", MULTIPART),
    of("hugging face", {"inputs": MARKER}, 400, "WRONG_TYPE", JSON),
    of("number", "5", 400, "WRONG_TYPE", JSON),
    of("null", "null", 400, "WRONG_TYPE", JSON),
    of("text is a number", {"text": 5}, 400, "WRONG_TYPE", JSON),
    of("text is a list", {"text": [MARKER]}, 400, "WRONG_TYPE", JSON),
    of("nested lists", [[[MARKER]]], 400, "WRONG_TYPE", JSON),
    of("missing text", {"tweet": MARKER}, 400, "WRONG_TYPE", JSON),
    of("10,001 items", [MARKER] * 10_001, 413, "TOO_MANY_ITEMS", JSON),
    of("1 MB of text", MARKER * 100_000, 413, "TEXT_TOO_LONG"),
    of("lone surrogate alone", b'{"text": "\\ud83d"}', 400, "EMPTY_TEXT", JSON),
    of("lone surrogate in a tweet", b'{"text": "\\udc00 fire at the mill"}', 200, None, JSON),
    of("nul", f"fire\x00 at {MARKER}\x00", 200, None),
    of("right to left", f"\u202e{MARKER}\u202c \u0632\u0644\u0632\u0627\u0644 \u0642\u0648\u064a", 200, None),
    of("emoji flood", "\U0001f525" * 2000 + MARKER, 200, None),
    of("combining marks", "fire" + "\u0301\u0489" * 2000 + MARKER, 200, None),
    of("unknown model", MARKER, 404, None, path="/predictions/nobody"),
    of("unknown version", MARKER, 404, None, path="/predictions/tweets/9.9"),
    of("unknown v1 model", {"instances": [MARKER]}, 404, None, JSON, "/v1/models/nobody:predict"),
    of("percent signs as curl sends them", f"50% of {MARKER} & 5%zz", 200, None, "application/x-www-form-urlencoded"),
    of("form without text", f"id={MARKER}", 400, "WRONG_TYPE", "application/x-www-form-urlencoded"),
    of(
        "truncated multipart",
        f'--xyz\r\nContent-Disposition: form-data; name="text"\r\n\r\n{MARKER}',
        400,
        "BAD_FORM",
        MULTIPART,
    ),
    of("multipart without boundary", f"--xyz\r\n{MARKER}", 400, "BAD_FORM", "multipart/form-data"),
    of("instances is no list", {"instances": MARKER}, 400, "WRONG_TYPE", JSON, "/v1/models/tweets:predict"),
    of("tensor of numbers", {"inputs": [{"datatype": "FP32"}]}, 400, "WRONG_TYPE", JSON, "/v2/models/tweets/infer"),
]


def send(server: TorchServeProcess, bad: Bad) -> requests.Response:
    headers = {"Content-Type": bad.content_type} if bad.content_type else {}
    return requests.post(f"{server.rest_url}{bad.path}", data=bad.body, headers=headers, timeout=60)


def check(bad: Bad, response: requests.Response) -> None:
    assert response.status_code == bad.status, f"{bad.name}: {response.status_code} {response.text[:200]}"
    body = response.json()
    if bad.code is not None:
        error = body["error"]  # of KServe v1, Open Inference v2 and Hugging Face: one string
        assert (error.partition(":")[0] if isinstance(error, str) else error["code"]) == bad.code, bad.name
        assert MARKER not in response.text
    elif bad.status == 200:
        assert 0 <= body["score"] <= 1, bad.name


def good_answer(server: TorchServeProcess, text: str) -> Any:
    response = requests.post(f"{server.rest_url}{PATH}", data=text.encode(), timeout=60)
    assert response.status_code == 200
    return response.json()


@pytest.fixture(scope="module")
def answers_alone(server: TorchServeProcess) -> dict[str, Any]:
    return {text: good_answer(server, text) for text in GOOD}


@pytest.fixture(scope="module", autouse=True)
def _nothing_else_happened(server: TorchServeProcess) -> Iterator[None]:
    """After all tests of this file: the same worker, and no text anywhere under logs/."""
    before = server.worker_pids()
    yield
    assert server.worker_pids() == before
    assert MARKER.encode() not in server.logged_bytes()


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_bad_input_alone_gets_its_status_and_code(server: TorchServeProcess, bad: Bad) -> None:
    check(bad, send(server, bad))


def test_bad_input_in_batches_changes_no_neighbours_answer(
    server: TorchServeProcess, answers_alone: dict[str, Any]
) -> None:
    jobs: list[Bad | str] = [*BAD * 3, *GOOD * 30]
    random.Random(4).shuffle(jobs)

    def run(job: Bad | str) -> None:
        if isinstance(job, Bad):
            check(job, send(server, job))
        else:
            found = good_answer(server, job)
            assert found["score"] == pytest.approx(answers_alone[job]["score"], abs=SCORE_STEP)
            assert {**found, "score": 0} == {**answers_alone[job], "score": 0}

    with ThreadPoolExecutor(32) as pool:
        for _ in pool.map(run, jobs):
            pass


def test_bad_items_of_a_list_change_no_neighbours_answer(
    server: TorchServeProcess, answers_alone: dict[str, Any]
) -> None:
    bad_items: list[Any] = [
        "",
        " ",
        5,
        None,
        [[]],
        {},
        {"text": None},
        "https://t.example",
        "x" * 10_001,
        {"text": "\ud800"},
    ]
    items: list[Any] = [item for pair in zip(bad_items, GOOD * 2, strict=False) for item in pair]
    response = requests.post(f"{server.rest_url}{PATH}", json=items, timeout=60)
    assert response.status_code == 200
    for index, answer in enumerate(response.json()["predictions"]):
        if index % 2:
            assert answer["score"] == pytest.approx(answers_alone[items[index]]["score"], abs=SCORE_STEP)
        else:
            assert answer["error"]["index"] == index
            assert answer["error"]["code"] in ("EMPTY_TEXT", "WRONG_TYPE", "TEXT_TOO_LONG")


def test_ten_thousand_items_are_all_answered(server: TorchServeProcess) -> None:
    response = requests.post(f"{server.rest_url}{PATH}", json=["Flood in town"] * 10_000, timeout=60)
    assert len(response.json()["predictions"]) == 10_000


def test_a_body_beyond_the_servers_limit_gets_413(server: TorchServeProcess) -> None:
    response = requests.post(f"{server.rest_url}{PATH}", data=b"a" * 7_000_000, timeout=60)
    assert response.status_code == 413


def test_logs_exist_so_that_their_silence_means_something(server: TorchServeProcess) -> None:
    assert any(path.stat().st_size for path in Path(server.logs_dir).rglob("*") if path.is_file())


def test_answer_of_many_errors_when_the_connection_ends_with_it_then_arrives_whole(server: TorchServeProcess) -> None:
    """TorchServe ends a connection with each answer from 400 on, and threw away what was still on its way."""
    body = b"[1,1]\n" * 10_000
    for _ in range(5):
        answer = requests.post(
            f"http://127.0.0.1:{server.ports.inference}{PATH}",
            data=body,
            headers={"Content-Type": "application/x-ndjson"},
            timeout=60,
        )
        assert answer.status_code == 400
        assert len(answer.json()["predictions"]) == 10_000
