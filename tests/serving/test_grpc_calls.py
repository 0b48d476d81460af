"""gRPC calls: large ones are answered, and none waits behind a management call that does."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from benchmark.servers.connections import GrpcConnection
from disaster_tweets_client.stubs import inference_pb2, management_pb2, management_pb2_grpc
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root
from tests.serving.waiting_handler import FOLDER_FILE, GO, WAITS, wait_for

pytestmark = pytest.mark.serving

PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
TIMEOUT_S = 60
WINDOW_BYTES = 1 << 20  # of the server: what a client may send ahead
MODEL_CONFIG = "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 8\nmaxBatchDelay: 1\nstartupTimeout: 90\n"


class Caller(GrpcConnection):
    """A connection that waits for each answer."""

    def ask(self, body: bytes) -> bytes:
        """Send one call and wait for its answer; a silence of 30 s is an error."""
        self.send(body)
        while (answer := self.receive()) is None:
            pass
        return answer


def test_a_message_of_more_than_the_window_is_answered(server: TorchServeProcess) -> None:
    tweets = ["Bridge closed, water still rising " + "and rising " * 40] * 9_000
    body = json.dumps(tweets).encode()
    assert len(body) > 4 * WINDOW_BYTES
    message = inference_pb2.PredictionsRequest(model_name="tweets", input={"data": body})
    with grpc.insecure_channel(server.grpc_target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        answer = channel.unary_unary(PREDICTIONS)(message.SerializeToString(), timeout=TIMEOUT_S)
    answered = json.loads(inference_pb2.PredictionResponse.FromString(answer).prediction)
    assert len(answered["predictions"]) == len(tweets)


def build_waiting_archive(root: Path, folder: Path) -> None:
    staging = root / "staging"
    staging.mkdir()
    (staging / FOLDER_FILE).write_text(str(folder), encoding="utf-8")
    (staging / "model-config.yaml").write_text(MODEL_CONFIG, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", "tweets", "--version", "1"]
    command += ["--handler", str(Path(__file__).with_name("waiting_handler.py"))]
    command += ["--extra-files", str(staging / FOLDER_FILE), "--config-file", str(staging / "model-config.yaml")]
    subprocess.run([*command, "--export-path", str(root / "model_store")], check=True, capture_output=True, timeout=60)


def test_predictions_pass_a_management_call_that_waits_for_a_worker(tmp_path: Path) -> None:
    ports = Ports.free()
    root = make_root(tmp_path / "root", ports)
    build_waiting_archive(root, tmp_path)
    with TorchServeProcess.start(root, ports, Path("model_store")) as server, ThreadPoolExecutor(1) as pool:
        server.wait_ready(TIMEOUT_S)
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc_management}") as channel:
            management = management_pb2_grpc.ManagementAPIsServiceStub(channel)
            two = management_pb2.ScaleWorkerRequest(model_name="tweets", min_worker=2, max_worker=2, synchronous=True)
            scaled = pool.submit(management.ScaleWorker, two, timeout=TIMEOUT_S)
            wait_for(tmp_path / WAITS)
            # More connections than the front end has threads that read: one of each thread at least.
            connections = [Caller("127.0.0.1", ports.grpc_inference) for _ in range(32)]
            with contextlib.ExitStack() as stack:
                for connection in connections:
                    stack.enter_context(contextlib.closing(connection.socket))
                for connection in connections:
                    assert b"answered" in connection.ask(b"Flood")
            listed = management.ListModels(management_pb2.ListModelsRequest(limit=1), timeout=TIMEOUT_S)
            assert "tweets" in listed.msg
            assert not scaled.done()
            (tmp_path / GO).touch()
            assert "Workers scaled to 2" in scaled.result().msg
