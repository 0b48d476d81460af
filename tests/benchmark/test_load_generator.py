"""What the load generator sends, counts and refuses to count, against small servers in threads."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

from benchmark.servers.connections import _hpack_string, predictions_request
from benchmark.servers.end_to_end import measure
from benchmark.servers.load_generator import Load, Run, arrivals
from disaster_tweets_client.stubs import inference_pb2, inference_pb2_grpc

ANSWER = b'{"label":"disaster"}'


class Replies(BaseHTTPRequestHandler):
    """Answers each request as the server's `reply` says, and keeps what was asked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Content-Type"], body))
        status, answer = self.server.reply(len(self.server.asked), body)
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        if status != 200:
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(reply) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replies)
    server.reply, server.asked, server.daemon_threads = reply, [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(server: ThreadingHTTPServer, bodies=("flood", "fire"), **changes):
    load = Load(**{"port": server.server_address[1], "bodies_file": "", "seconds": 5.0, "warm_up_s": 0.0, **changes})
    return Run(load, [body.encode() for body in bodies]).measure()


def test_a_closed_loop_counts_every_right_answer_when_a_count_is_given() -> None:
    with serving(lambda number, body: (200, ANSWER)) as server:
        found = run(server, count=20, connections=3)
    assert len(found.latencies_ms) == len(found.finished_s) == found.sent == len(server.asked) == 20
    assert found.errors == {}
    assert {body for _, _, body in server.asked} == {b"flood", b"fire"}
    assert {path for path, _, _ in server.asked} == {"/predictions/tweets"}


def test_an_answer_without_the_expected_words_is_an_error_and_no_latency() -> None:
    with serving(lambda number, body: (200, ANSWER if number % 2 else b"{}")) as server:
        found = run(server, count=10)
    assert len(found.latencies_ms) == 5
    assert found.errors == {"0 answers instead of 1": 5}


def test_a_refusal_is_counted_and_the_connection_opened_again() -> None:
    with serving(lambda number, body: (503, b"no") if number == 2 else (200, ANSWER)) as server:
        found = run(server, count=6)
    assert found.errors == {"HTTP 503": 1}
    assert len(found.latencies_ms) == 5


def test_an_answer_larger_than_one_read_is_put_together() -> None:
    with serving(lambda number, body: (200, ANSWER * 40_000)) as server:
        found = run(server, count=2, answers=40_000)
    assert found.errors == {}
    assert len(found.latencies_ms) == 2


def test_an_open_loop_counts_from_the_time_due_when_the_server_stalls() -> None:
    def stall_once(number: int, body: bytes) -> tuple[int, bytes]:
        if number == 1:
            time.sleep(0.4)
        return 200, ANSWER

    with serving(stall_once) as server:
        found = run(server, rate=50.0, seconds=1.0, seed=3)
    due = arrivals(50.0, 1.0, 3)
    assert found.sent == len(found.latencies_ms) == len(due)
    # Due during the stall on the only connection: each must have waited for its end.
    stalled = [time_due for time_due in due if due[0] < time_due < due[0] + 0.3]
    assert len(stalled) > 5
    assert sum(latency > 90 for latency in found.latencies_ms) >= len(stalled)


def test_a_connection_that_the_server_ends_between_two_requests_is_no_error_and_is_opened_again() -> None:
    class ReplyOnce(Replies):
        def do_POST(self) -> None:
            super().do_POST()
            self.close_connection = True  # without a word

    with serving(lambda number, body: (200, ANSWER)) as server:
        server.RequestHandlerClass = ReplyOnce
        found = run(server, rate=10.0, seconds=2.0, seed=2, connections=2)
    assert found.errors == {}
    assert len(found.latencies_ms) == found.sent == len(arrivals(10.0, 2.0, 2)) > 5


def test_arrivals_are_the_same_for_a_seed_and_have_the_rate_asked_for() -> None:
    times = arrivals(100.0, 50.0, 1)
    assert times == arrivals(100.0, 50.0, 1) != arrivals(100.0, 50.0, 2)
    assert times == sorted(times)
    assert len(times) == pytest.approx(5000, rel=0.1)


class Predictions(inference_pb2_grpc.InferenceAPIsServiceServicer):
    """Answers over real gRPC and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []

    def Predictions(self, request, context):
        self.asked.append((request.model_name, request.input["data"]))
        if len(self.asked) == 3:
            context.abort(grpc.StatusCode.INTERNAL, "no")
        return inference_pb2.PredictionResponse(prediction=ANSWER)


def test_grpc_calls_are_understood_by_a_real_grpc_server_and_a_failure_is_counted() -> None:
    service = Predictions()
    server = grpc.server(ThreadPoolExecutor(4))
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    load = Load(port=port, bodies_file="", protocol="grpc", connections=2, seconds=20.0, warm_up_s=0.0, count=30)
    long = "x" * 300
    try:
        found = Run(load, [b"flood", long.encode()]).measure()
    finally:
        server.stop(None).wait()
    assert len(found.latencies_ms) == 29
    assert sum(found.errors.values()) == 1
    assert set(service.asked) == {("tweets", b"flood"), ("tweets", long.encode())}


def test_the_message_is_what_the_generated_stubs_write() -> None:
    for body in (b"", b"flood", b"x" * 20_000):
        expected = inference_pb2.PredictionsRequest(model_name="tweets", input={"data": body})
        assert inference_pb2.PredictionsRequest.FromString(predictions_request(body)) == expected


@pytest.mark.parametrize(("length", "head"), [(5, b"\x05"), (126, b"\x7e"), (127, b"\x7f\x00"), (300, b"\x7f\xad\x01")])
def test_a_header_string_has_the_length_of_rfc_7541(length: int, head: bytes) -> None:
    assert _hpack_string(b"a" * length) == head + b"a" * length


def test_a_generator_of_its_own_process_returns_the_same(tmp_path: Path) -> None:
    (tmp_path / "bodies.json").write_text(json.dumps(["flood"]))
    with serving(lambda number, body: (200, ANSWER)) as server:
        load = Load(
            port=server.server_address[1],
            bodies_file=str(tmp_path / "bodies.json"),
            seconds=20.0,
            warm_up_s=0.0,
            count=5,
        )
        found = measure(load)
    assert len(found.latencies_ms) == 5
    assert sys.executable
