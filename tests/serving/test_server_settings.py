"""Real TorchServe with the repository's config.properties, log4j2.xml and Java classes around an echo model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.serving.settings_server import Answer, ask, build_echo_archive, grpc_predict, request_bytes, send_raw
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root, write_config

pytestmark = pytest.mark.serving

PREDICT = "/predictions/tweets"
FORM = "application/x-www-form-urlencoded"
MARKER = b"QqMarkerOfAPrivateTweetQq"
MAX_REQUEST_BYTES = 6_553_500
SECRET = "UPSTREAM_API_TOKEN"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("settings") / "root", ports)
    build_echo_archive(root / "model_store", "echo")
    environment = {SECRET: "x", "TS_ENABLE_MODEL_API": "true", "TS_MANAGEMENT_ADDRESS": "http://0.0.0.0:1"}
    with TorchServeProcess.start(root, ports, Path("model_store"), environment=environment) as process:
        process.wait_ready()
        yield process
        assert process.restart_count == 0, "a test cost the worker its life"


def predict(server: TorchServeProcess, body: bytes, content_type: str | None = None) -> Answer:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return ask(server.ports.inference, "POST", PREDICT, body, headers)


TRUNCATED_PART = b'--XX\r\nContent-Disposition: form-data; name="text"\r\n\r\nflood at the br'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"Wildfire jumps the highway near Redding"),
        (FORM, b"50% of homes lost"),
        (FORM, b"%"),
        (FORM, b"%zz &&& == ++ ;;"),
        (FORM, b"rain & wind = trouble + more at 100%25 http://example.org/?a=b&c=d"),
        (FORM, b"text=flood+at+the+bridge%21&id=7"),
        (FORM, "Überschwemmung \U0001f30a".encode()),
        (FORM, b"\xff\xfe not UTF-8 \x00"),
        (FORM, b""),
        (FORM + "; charset=utf-8", b"a=b"),
        (FORM.upper(), b"a=b"),
        ("multipart/form-data; boundary=XX", TRUNCATED_PART),
        ("multipart/form-data; boundary=XX", TRUNCATED_PART + b"idge\r\n--XX--\r\n"),
        ("multipart/form-data", b"no boundary"),
        ('Multipart/Form-Data; boundary="', b"broken boundary"),
        ("multipart/mixed; boundary=XX", TRUNCATED_PART),
        ("application/json", b'{"text": "half'),
        ("text/plain", b"\xff"),
        (";;//", b"no such type"),
    ],
)
def test_body_of_any_content_type_when_posted_then_reaches_handler_byte_for_byte(
    server: TorchServeProcess, content_type: str, body: bytes
) -> None:
    answer = predict(server, body, content_type)
    assert answer.status == 200
    assert answer.received() == body
    assert list(answer.json()["parameters"]) == ["body"]


def test_multipart_when_posted_then_boundary_reaches_handler(server: TorchServeProcess) -> None:
    content_type = "multipart/form-data; boundary=----abc"
    answer = predict(server, TRUNCATED_PART, content_type)
    assert answer.json()["parameters"]["body"]["content_type"] == content_type


def test_token_when_none_is_sent_then_curl_is_answered(server: TorchServeProcess) -> None:
    assert predict(server, b"no token", FORM).status == 200
    assert not (server.root / "key_file.json").exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models?url=http://example.org/evil.mar"),
        ("POST", "/models?url=file:///tmp/evil.mar"),
        ("POST", "/models?url=../evil.mar"),
        ("POST", "/models?url=tweets.mar"),
        ("DELETE", "/models/tweets"),
        ("POST", "/workflows?url=http://example.org/evil.war"),
        ("POST", "/workflows?url=file:///tmp/evil.war"),
        ("POST", "/%77orkflows?url=evil.war"),
        ("POST", "/workflows/"),
        ("GET", "/workflows"),
        ("DELETE", "/workflows/evil"),
        ("OPTIONS", "/workflows"),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example", "Content-Type": "text/plain"},
        {"Origin": "http://evil.example", "Content-Type": FORM},
    ],
    ids=["local", "cross-site-text", "cross-site-form"],
)
def test_remote_code_path_when_asked_for_then_405(
    server: TorchServeProcess, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = ask(server.ports.management, method, path, b"", headers)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    models = ask(server.ports.management, "GET", "/models").json()["models"]
    assert [model["modelName"] for model in models] == ["tweets"]


def test_scaling_when_a_browser_asks_first_then_no_permission_is_given(server: TorchServeProcess) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
    answer = ask(server.ports.management, "OPTIONS", "/models/tweets", headers=headers)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_management_when_host_is_foreign_then_403(server: TorchServeProcess, host: str) -> None:
    assert ask(server.ports.management, "PUT", "/models/tweets?min_worker=0", headers={"Host": host}).status == 403
    assert ask(server.ports.inference, "POST", PREDICT, b"x", {"Host": host}).status == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8081", "127.0.0.1:9", "[::1]:8081"])
def test_management_when_host_is_loopback_then_answered(server: TorchServeProcess, host: str) -> None:
    assert ask(server.ports.management, "GET", "/models", headers={"Host": host}).status == 200


def test_listeners_when_started_then_loopback_and_the_five_ports_only(server: TorchServeProcess) -> None:
    addresses = server.listening_addresses()
    assert {address.removeprefix("::ffff:") for address, _ in addresses} == {"127.0.0.1"}
    assert sorted(port for _, port in addresses) == sorted(vars(server.ports).values())


def test_request_of_the_largest_size_when_posted_then_answered_and_one_byte_more_is_413(
    server: TorchServeProcess,
) -> None:
    body = b"x" * MAX_REQUEST_BYTES
    assert predict(server, body, FORM).received() == body  # the answer is larger than TorchServe's default limit
    too_large = request_bytes(PREDICT, body + b"x", b"Content-Type: text/plain")
    assert send_raw(server.ports.inference, too_large) == 413
    announced = b"POST /predictions/tweets HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 6553501\r\n\r\n"
    assert send_raw(server.ports.inference, announced) == 413


CHUNKED = b"POST /predictions/tweets HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request_bytes("/predictions/%zz", b"x"), 400),
        (request_bytes("/predictions/tweets%", b"x"), 400),
        (request_bytes("/invocations?x=%zz", b"x"), 400),
        (request_bytes("*", b"x"), 404),
        (request_bytes("*", b"", method="OPTIONS"), 404),
        (request_bytes("predictions/tweets", b"x"), 404),
        (request_bytes("/", b"x"), 405),
        (request_bytes("/predictions", b"x"), 404),
        (request_bytes("/predictions/nobody", b"x"), 404),
        (request_bytes("/predictions/tweets/9.9", b"x"), 404),
        (request_bytes("/predictions/\xff\xfe", b"x"), 404),
        (request_bytes("/wfpredict/nobody", b"x"), 404),
        (request_bytes(PREDICT, b"x", b"X-T\xc3\xa9: \xff"), 400),
        (request_bytes(PREDICT, b"x", b"no colon"), 400),
        (request_bytes(PREDICT, b"x", b"X-Long: " + b"x" * 9000), 400),
        (request_bytes("/predictions/" + "x" * 5000, b"x"), 400),
        (request_bytes(PREDICT, b"x", b"Content-Length: 7"), 400),
        (request_bytes(PREDICT, b"x", b"Expect: 200-maybe"), 417),
        (b"\x16\x03\x01\x02\x00\x01 not HTTP\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
        (CHUNKED + b"zz\r\nflood\r\n", 400),
        (CHUNKED + b"5\r\nflood\r\n0\r\n\r\n", 200),
    ],
)
def test_broken_http_when_sent_then_4xx(server: TorchServeProcess, sent: bytes, status: int) -> None:
    assert send_raw(server.ports.inference, sent) == status


@pytest.mark.parametrize("sent", [CHUNKED + b"20\r\nflood", request_bytes(PREDICT, b"x").replace(b": 1", b": 500")])
def test_half_a_request_when_the_sender_goes_then_nothing_is_answered(server: TorchServeProcess, sent: bytes) -> None:
    assert send_raw(server.ports.inference, sent, half_close=True) is None
    assert predict(server, b"next").status == 200


def test_worker_when_started_then_inherits_no_secret(server: TorchServeProcess) -> None:
    variables = predict(server, b"x").json()["variables"]
    assert SECRET not in variables
    assert "PATH" in variables


def test_metrics_when_a_request_was_answered_then_counted(server: TorchServeProcess) -> None:
    predict(server, b"x")
    text = ask(server.ports.metrics, "GET", "/metrics").body.decode()
    assert "ts_inference_requests_total{" in text
    assert 'model_name="tweets"' in text


def test_console_when_started_then_says_address_and_ready_and_little_else(server: TorchServeProcess) -> None:
    console = server.console()
    assert f"Inference API bind to: {server.rest_url}" in console
    assert "model echo ready on cpu" in console
    assert len(console.splitlines()) <= 8


def test_marker_when_sent_everywhere_then_in_no_log(server: TorchServeProcess) -> None:
    text = MARKER.decode()
    part = b'--XX\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s' % (MARKER, MARKER, MARKER)
    for content_type in (FORM, "application/json", "text/plain", "multipart/form-data; boundary=XX", text):
        for body in (MARKER, b"%" + MARKER, MARKER + b"=%zz", b'{"text": "' + MARKER, b"\xff" + MARKER, part):
            assert predict(server, body, content_type).status == 200
    paths = ["/predictions/{}", "/predictions/tweets/{}", "/predictions/%zz{}", "/{}", "{}", "/invocations?body={}"]
    paths += ["/invocations?x=%zz{}", "/models/{}/invoke", "/{}/predict", "/v1/models/{}:predict", "/wfpredict/{}"]
    paths += [
        "/v2/models/{}/infer",
        "/models/{}",
        "/models?url=http://{}/a.mar",
        "/workflows?url={}",
        "/metrics?name[]={}",
    ]
    for port in (server.ports.inference, server.ports.management, server.ports.metrics):
        for path in paths:
            for method in ("POST", "GET", "PUT", text):
                status = send_raw(port, request_bytes(path.format(text), MARKER, method=method))
                assert status is not None
                assert status < 500, (method, path)
        for header in (b"X: \xff" + MARKER, MARKER, b"Host: " + MARKER, b"Content-Length: " + MARKER):
            send_raw(port, request_bytes("/models", MARKER, header))
        send_raw(port, MARKER + b"\r\n\r\n")
        send_raw(port, CHUNKED + b"z" + MARKER + b"\r\n")
    target = server.grpc_target
    assert grpc_predict(target, "tweets", {"data": MARKER, text: MARKER}) is grpc.StatusCode.OK
    assert grpc_predict(target, text, {"data": MARKER}) is not grpc.StatusCode.OK
    send_raw(server.ports.grpc_inference, MARKER)
    time.sleep(0.3)  # the front end logs after it has answered
    assert MARKER not in server.logged_bytes()
    assert b"Inference API bind" in server.logged_bytes()


STALE_SNAPSHOT = """\
inference_address=http\\://127.0.0.1\\:1
load_models=gone.mar
model_snapshot={"name"\\:"20990101000000000-shutdown.cfg","modelCount"\\:1,"models"\\:{"gone"\\:{"1.0"\\:{"defaultVersion"\\:true,"marName"\\:"gone.mar"}}}}
"""


def test_bare_command_when_config_and_archive_change_between_three_starts_then_each_takes_effect(
    tmp_path: Path,
) -> None:
    ports = Ports.free()
    root = make_root(tmp_path / "root", ports)
    snapshots = root / "logs" / "config"
    snapshots.mkdir(parents=True)
    (snapshots / "20990101000000000-shutdown.cfg").write_text(STALE_SNAPSHOT, encoding="utf-8")
    for answer in ("first", "second", "third"):
        write_config(root, ports)
        build_echo_archive(root / "model_store", answer)
        with TorchServeProcess.start(root, ports, Path("model_store")) as process:
            process.wait_ready()
            assert predict(process, b"x").json()["answer"] == answer
        ports = Ports.free()
    assert [path.name for path in snapshots.iterdir()] == ["20990101000000000-shutdown.cfg"]
