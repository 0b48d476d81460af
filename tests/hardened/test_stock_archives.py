"""Archives that are not ours, served from a folder that is not ours: protected, and with the same answers."""

from __future__ import annotations

import contextlib
import http.client
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests
import torch
from PIL import Image

from disaster_tweets_client.stubs import inference_pb2, inference_pb2_grpc
from tests.serving.torchserve_process import Ports, TorchServeProcess

pytestmark = pytest.mark.serving

UNPROTECTED = (sys.executable, "-c", "from ts.model_server import start; start()")
MODELS = "image.mar text.mar"
TEXT = "water over the road & 50% of the houses = lost"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two archives made by torch-model-archiver from TorchScript files of random networks; read-only."""
    folder = tmp_path_factory.mktemp("stock")
    torch.manual_seed(0)
    image = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8 * 8, 3))
    networks = {"image": (image, torch.zeros(1, 8, 8)), "text": (torch.nn.Linear(32, 2), torch.zeros(1, 32))}
    for name, (network, example) in networks.items():
        torch.jit.trace(network, example).save(str(folder / f"{name}.pt"))
        handler = Path(__file__).with_name(f"{name}_handler.py")
        command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", name, "--version", "1"]
        command += ["--serialized-file", str(folder / f"{name}.pt"), "--handler", str(handler)]
        subprocess.run([*command, "--export-path", str(folder)], check=True, capture_output=True, timeout=120)
    return folder


def start(folder: Path, store: Path, program: tuple[str, ...] = ()) -> TorchServeProcess:
    """Start in a folder that holds nothing but ports: no setting, no log settings, no class of ours."""
    ports = Ports.free()
    folder.mkdir()
    lines = [
        f"{kind}_address=http://127.0.0.1:{port}"
        for kind, port in (("inference", ports.inference), ("management", ports.management), ("metrics", ports.metrics))
    ]
    lines += [f"grpc_inference_port={ports.grpc_inference}", f"grpc_management_port={ports.grpc_management}"]
    lines += ["disable_token_authorization=true", "default_workers_per_model=1"]
    (folder / "config.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    process = TorchServeProcess.start(folder, ports, store, models=MODELS, program=program)
    try:
        process.wait_ready(TIMEOUT_S)
    except BaseException:
        process.stop()
        raise
    return process


@pytest.fixture(scope="module")
def protected(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    with start(tmp_path_factory.mktemp("elsewhere") / "protected", store) as process:
        yield process


@pytest.fixture(scope="module")
def unprotected(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    with start(tmp_path_factory.mktemp("elsewhere") / "unprotected", store, UNPROTECTED) as process:
        yield process


def picture() -> bytes:
    file = io.BytesIO()
    Image.frombytes("L", (16, 16), bytes(range(256))).save(file, "png")
    return file.getvalue()


def post(server: TorchServeProcess, path: str, body: bytes, content_type: str) -> requests.Response:
    headers = {"Content-Type": content_type}
    return requests.post(f"{server.rest_url}{path}", data=body, headers=headers, timeout=TIMEOUT_S)


def test_answers_when_protected_then_equal_to_those_of_the_unprotected(
    protected: TorchServeProcess, unprotected: TorchServeProcess
) -> None:
    requests_ = [
        ("/predictions/image", picture(), "image/png"),
        ("/predictions/text", TEXT.encode(), "text/plain"),
        ("/predictions/text", b"one two three", "application/octet-stream"),
        ("/predictions/text/1", b'{"a": 1}', "application/json"),
    ]
    for path, body, content_type in requests_:
        ours, theirs = (post(server, path, body, content_type) for server in (protected, unprotected))
        assert ours.status_code == theirs.status_code == 200, ours.text
        assert ours.content == theirs.content


def test_form_body_when_sent_by_plain_curl_then_the_handler_reads_it_as_it_was(
    protected: TorchServeProcess, unprotected: TorchServeProcess
) -> None:
    form = "application/x-www-form-urlencoded"
    answer = post(protected, "/predictions/text", TEXT.encode(), form)
    assert answer.status_code == 200, answer.text
    assert answer.json()["read"] == TEXT
    # Without protection the handler never sees it.
    assert post(unprotected, "/predictions/text", TEXT.encode(), form).status_code >= 500


def test_workflows_when_registered_from_an_address_then_405(protected: TorchServeProcess) -> None:
    address = f"{protected.management_url}/workflows?url=http://127.0.0.1:9/x.war"
    assert requests.post(address, timeout=TIMEOUT_S).status_code == 405


def test_unknown_model_and_broken_escape_when_asked_then_4xx(protected: TorchServeProcess) -> None:
    assert post(protected, "/predictions/nobody", b"x", "text/plain").status_code == 404
    connection = http.client.HTTPConnection("127.0.0.1", protected.ports.inference, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", "/%zz")  # requests would correct it
        assert connection.getresponse().status == 400


def test_management_when_the_host_is_foreign_then_403(protected: TorchServeProcess) -> None:
    headers = {"Host": "attacker.example"}
    assert requests.get(f"{protected.management_url}/models", headers=headers, timeout=TIMEOUT_S).status_code == 403


def test_stream_call_when_the_handler_does_not_stream_then_refused_and_the_worker_lives(
    protected: TorchServeProcess,
) -> None:
    pids = protected.worker_pids()
    with grpc.insecure_channel(protected.grpc_target) as channel:
        stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
        request = inference_pb2.PredictionsRequest(model_name="text", input={"data": TEXT.encode()})
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.StreamPredictions(request, timeout=TIMEOUT_S))
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert TEXT.encode() in stub.Predictions(request, timeout=TIMEOUT_S).prediction
    assert protected.worker_pids() == pids


def test_logs_when_everything_was_asked_then_hold_no_text_of_an_address(protected: TorchServeProcess) -> None:
    requests.get(f"{protected.rest_url}/predictions/text?data=canary-in-the-query", timeout=TIMEOUT_S)
    requests.get(f"{protected.rest_url}/canary-in-the-path", timeout=TIMEOUT_S)
    logged = protected.logged_bytes()
    assert b'"GET /predictions HTTP/1.1"' in logged
    assert b"canary" not in logged


def test_snapshots_when_stopped_then_none(store: Path, tmp_path: Path) -> None:
    with start(tmp_path / "stopped", store) as process:
        pass
    assert not (process.root / "logs" / "config").exists()
