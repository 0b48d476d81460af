"""No text of a request anywhere but in its answer's way back: not in logs at DEBUG, metrics, errors or left-over files.

Every text here carries the canary. It goes through every route, form and failure; then everything that the server
wrote, showed or left is searched for it, as it is and as it would look escaped or encoded.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.run_record import write_record
from tests.serving.archive_settings import copy_with_settings
from tests.serving.settings_server import Answer, ask, grpc_predict, request_bytes, send_raw
from tests.serving.torchserve_process import REPOSITORY, Ports, TorchServeProcess, make_root

pytestmark = pytest.mark.serving

CANARY = "QzCanaryTweetZq"
TEXT = f"Flood at {CANARY} bridge"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
PART = f'--xyz\r\nContent-Disposition: form-data; name="text"\r\n\r\n{TEXT}\r\n'


def traces() -> list[bytes]:
    """Return the canary as it is and as other layers would write it."""
    plain = CANARY.encode()
    return [
        plain,
        base64.b64encode(plain)[:-4],
        base64.b64encode(b"x" + plain)[4:-4],
        base64.b64encode(b"xx" + plain)[4:-4],
        plain.hex().encode(),
        CANARY.encode("utf-16-le"),
        "".join(f"\\u{ord(character):04x}" for character in CANARY).encode(),
        CANARY[::-1].encode(),
    ]


def found_in(data: bytes) -> list[bytes]:
    lower = data.lower()
    return [trace for trace in traces() if trace.lower() in lower]


def write_debug_settings(path: Path) -> None:
    """Write log4j2.xml with every logger at DEBUG and nothing filtered out."""
    text = (REPOSITORY / "log4j2.xml").read_text(encoding="utf-8")
    text = re.sub(r'level="(?:off|error|warn|info)"', 'level="debug"', text)
    text = re.sub(r"<RegexFilter[^>]*/>", "", text)
    text = re.sub(r'<Logger name="(ACCESS_LOG|TS_METRICS|MODEL_METRICS|io.netty|io.grpc)" level="debug"/>', "", text)
    path.unlink()
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def debug_server(tried_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    ports = Ports.free()
    folder = tmp_path_factory.mktemp("privacy")
    root = make_root(folder / "root", ports)
    write_debug_settings(root / "log4j2.xml")
    key_file = folder / "audit.key"
    key_file.write_text("0123456789abcdef" * 4)
    key_file.chmod(0o400)
    settings = {"torch_threads": "1", "audit_log": str(folder / "audit.jsonl"), "audit_key_file": str(key_file)}
    copy_with_settings(tried_archive, root / "model_store" / "tweets.mar", settings)
    with TorchServeProcess.start(root, ports, Path("model_store")) as process:
        process.wait_ready(timeout_s=180)
        yield process


BODIES = [
    ("text/plain", TEXT.encode()),
    (FORM, TEXT.encode()),
    (FORM, f"text={TEXT}&id={CANARY}".encode()),
    (FORM, f"id={CANARY}".encode()),
    (JSON, json.dumps(TEXT).encode()),
    (JSON, json.dumps({"text": TEXT, "id": CANARY, "keyword": CANARY}).encode()),
    (JSON, json.dumps([TEXT, {"text": TEXT}, {"text": 5, CANARY: CANARY}, [CANARY]]).encode()),
    (JSON, json.dumps({"instances": [TEXT, CANARY, ""]}).encode()),
    (JSON, json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "data": [TEXT]}], "id": "1"}).encode()),
    (JSON, json.dumps({"inputs": CANARY}).encode()),
    (JSON, json.dumps({CANARY: CANARY}).encode()),
    (JSON, json.dumps({"text": TEXT, "id": [CANARY]}).encode()),
    (JSON, f'{{"text": "{TEXT}'.encode()),
    (JSON, f'{{"text": "{TEXT}", "id": NaN}}'.encode()),
    (JSON, b"[" * 50_000 + CANARY.encode()),
    (JSON, json.dumps([CANARY] * 10_001).encode()),
    ("application/x-ndjson", f'{TEXT}\n{{"text": "{TEXT}"}}\n{{"{CANARY}\n\xff'.encode("latin-1")),
    ("multipart/form-data; boundary=xyz", f"{PART}--xyz--\r\n".encode()),
    ("multipart/form-data; boundary=xyz", PART.encode()),
    (f"multipart/form-data; boundary={CANARY}", PART.encode()),
    (CANARY, TEXT.encode()),
    ("text/plain", b"\xff\xfe" + TEXT.encode()),
    ("text/plain", TEXT.encode("utf-16")),
    ("text/plain", f"https://t.example/{CANARY} @{CANARY}".encode()),
    ("text/plain", (CANARY * 1000).encode()),
]
PATHS = ["/predictions/tweets", "/v1/models/tweets:predict", "/v2/models/tweets/infer", "/explanations/tweets"]
WRONG_PATHS = [
    *("/predictions/{}", "/predictions/tweets/{}", "/{}", "/invocations?body={}", "/predictions/tweets?text={}"),
    *("/predictions/%zz{}", "/models/{}/invoke", "/v1/models/{}:predict", "/v2/models/{}/infer", "/models/{}"),
    *(
        "/models?url=http://127.0.0.1:9/{}.mar",
        "/workflows?url={}",
        "/metrics?name[]={}",
        "/ping?{}",
        "/api-description?{}",
    ),
]


def ask_everything(server: TorchServeProcess) -> tuple[int, list[Answer]]:
    """Send the canary every way; return how many requests that were, and the answers that are errors."""
    answers: list[Answer] = []
    count = 0
    for content_type, body in BODIES:
        for path in PATHS:
            headers = {"Content-Type": content_type, "Cookie": CANARY, "x-request-id": CANARY, "User-Agent": CANARY}
            answers.append(ask(server.ports.inference, "POST", path, body, headers, timeout_s=90))
        headers = {"x-deadline-ms": "1", "Content-Type": content_type}
        answers.append(ask(server.ports.inference, "POST", PATHS[0], body, headers, timeout_s=90))
        answers.append(ask(server.ports.inference, "POST", PATHS[0], body, {"x-deadline-ms": CANARY}, timeout_s=90))
    for port in (server.ports.inference, server.ports.management, server.ports.metrics):
        for path in WRONG_PATHS:
            for method in ("POST", "GET", "PUT", "DELETE", "OPTIONS", CANARY):
                send_raw(port, request_bytes(path.format(CANARY), TEXT.encode(), method=method))
                count += 1
        for raw in (CANARY.encode(), b"Host: " + CANARY.encode(), b"X: \xff" + CANARY.encode()):
            send_raw(port, request_bytes("/predictions/tweets", TEXT.encode(), raw), timeout_s=1)
            send_raw(port, raw + b"\r\n\r\n", timeout_s=1)
            count += 2
    for inputs in ({"data": TEXT.encode()}, {CANARY: TEXT.encode()}, {"data": b"\xff" + TEXT.encode()}):
        assert grpc_predict(server.grpc_target, "tweets", inputs, timeout_s=60) is grpc.StatusCode.OK
        assert grpc_predict(server.grpc_target, CANARY, inputs, timeout_s=60) is not grpc.StatusCode.OK
        count += 2
    # Not here: bytes on the gRPC port that are no gRPC. At DEBUG their first ones are quoted, which is why log4j2.xml
    # keeps io.grpc at ERROR; test_server_settings.py sends them at the levels that are shipped.
    return count + len(answers), [answer for answer in answers if answer.status >= 400]


def die_with_text_in_flight(server: TorchServeProcess) -> None:
    """Lose the workers while one holds texts; the front end and the next workers write about it."""
    pids = server.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    send_raw(server.ports.inference, request_bytes(PATHS[0], json.dumps([TEXT] * 500).encode()), timeout_s=1)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 180
    while ask(server.ports.inference, "POST", PATHS[0], TEXT.encode(), timeout_s=180).status != 200:
        assert time.monotonic() < deadline, "no worker came back"


def left_files(server: TorchServeProcess) -> dict[str, bytes]:
    """Return every readable file of the server's own folders, packed logs unpacked, without what was put there."""
    found = {}
    for folder in (server.root, server.root.parent, server.temp):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.suffix not in (".mar", ".pt"):
                found[str(path)] = path.read_bytes()
    return found


def test_the_canary_goes_everywhere_and_stays_nowhere(debug_server: TorchServeProcess) -> None:
    count, errors = ask_everything(debug_server)
    die_with_text_in_flight(debug_server)
    time.sleep(1)  # the front end logs after it has answered
    console_and_logs = debug_server.logged_bytes()
    assert b"DEBUG" in console_and_logs, "nothing was logged at DEBUG: the search below would prove nothing"
    assert not found_in(console_and_logs), _lines_with_canary(console_and_logs)
    assert len(errors) > 40
    assert not [answer for answer in errors if found_in(_without_marks(answer.body))]
    metrics = ask(debug_server.ports.metrics, "GET", "/metrics").body
    assert b"ts_inference_requests_total" in metrics
    assert not found_in(metrics)
    described = ask(debug_server.ports.management, "GET", "/models/tweets?customized=true").body
    assert not found_in(described)
    files = left_files(debug_server)
    assert not [name for name, data in files.items() if found_in(data)]
    assert not [name for name in files if CANARY in name]
    audit = debug_server.root.parent / "audit.jsonl"
    assert audit.read_text().count('"text_hmac"') > 40
    write_record(
        "privacy",
        {
            "requests_with_canary": count,
            "log_level": "DEBUG",
            "bytes_of_logs_searched": len(console_and_logs),
            "files_searched": len(files),
            "error_answers_searched": len(errors),
            "forms_of_canary_searched": len(traces()),
            "found": 0,
        },
    )


def test_a_text_in_the_environment_of_the_search_would_be_found() -> None:
    for wrapped in (TEXT, TEXT.upper(), base64.b64encode(TEXT.encode()).decode(), urllib.parse.quote(TEXT)):
        assert found_in(f"2026 [INFO ] {wrapped} end".encode())


def test_the_archive_holds_no_tweet_of_others(tried_archive: Path) -> None:
    with zipfile.ZipFile(tried_archive) as archive:
        names = [name for name in archive.namelist() if name.endswith((".csv", ".tsv"))]
    assert not names


def _without_marks(body: bytes) -> bytes:
    """Return an error's body without ids and content types: by contract a caller's own ones come back to him."""
    return re.sub(rb'"id":"[^"]*"|the content type is \'[^\']*\'', b"", body)


def _lines_with_canary(data: bytes) -> str:
    lines = [line[:300] for line in data.splitlines() if found_in(line)]
    return f"{len(lines)} lines, such as {lines[:5]}"
