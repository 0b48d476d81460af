"""Bytes that are no protobuf: the caller is told, the log stays quiet, and the next call is answered."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from tests.serving.settings_server import build_echo_archive, grpc_predict
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root

pytestmark = pytest.mark.serving

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
BROKEN = {
    "no field begins so": b"\xff" * 12,
    "a field longer than the message": b"\x0a\x7ftweets",
    "a name that is no UTF-8": b"\x0a\x02\xff\xfe",
    "a group that is never closed": b"\x0b",
}


def call(target: str, method: str, message: bytes) -> grpc.StatusCode:
    with grpc.insecure_channel(target) as channel:
        try:
            channel.unary_unary(f"{SERVICE}/{method}")(message, timeout=60)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_broken_messages_when_sent_then_no_stack_trace_and_the_next_call_is_answered(tmp_path: Path) -> None:
    ports = Ports.free()
    root = make_root(tmp_path / "root", ports)
    build_echo_archive(root / "model_store", "parameters")
    with TorchServeProcess.start(root, ports, Path("model_store")) as server:
        server.wait_ready(timeout_s=120)
        for message in BROKEN.values():
            assert call(server.grpc_target, "Predictions", message) is grpc.StatusCode.UNKNOWN
            assert grpc_predict(server.grpc_target, "tweets", {"data": b"fire"}, timeout_s=60) is grpc.StatusCode.OK
        assert call(server.grpc_target, "Ping", BROKEN["a group that is never closed"]) is grpc.StatusCode.UNKNOWN
        assert server.restart_count == 0
    # Read when the server has ended, so that nothing is still on its way to a file.
    logged = server.logged_bytes()
    assert b"Inference API bind to" in logged
    for trace in (b"SerializingExecutor", b"InvalidProtocolBufferException", b"\tat ", b"SEVERE"):
        assert trace not in logged
