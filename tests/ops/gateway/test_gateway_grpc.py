"""gRPC through the gateway: the same keys, the same limits, gRPC's own words for the errors."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator

import grpc
import pytest

from disaster_tweets_client import GrpcClient
from disaster_tweets_client.stubs import inference_pb2, inference_pb2_grpc
from tests.ops.gateway.fake_server import ANSWER, FakeServer
from tests.ops.gateway.gateway_process import GatewayProcess
from tests.serving.torchserve_process import Ports

METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


@pytest.fixture
def channel(fake_gateway: GatewayProcess) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(fake_gateway.settings.certificate.read_bytes())
    with grpc.secure_channel(fake_gateway.grpc_target, credentials) as opened:
        yield opened


def ask(channel: grpc.Channel, key: str | None, text: bytes = b"fire", timeout_s: float = 30) -> bytes:
    stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
    request = inference_pb2.PredictionsRequest(model_name="tweets", input={"data": text})
    metadata = () if key is None else (("authorization", f"Bearer {key}"),)
    return bytes(stub.Predictions(request, timeout=timeout_s, metadata=metadata).prediction)


def code_of(channel: grpc.Channel, key: str | None, text: bytes = b"fire") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, key, text)
    return caught.value.code(), str(caught.value.details())  # type: ignore[attr-defined]


def test_prediction_when_asked_with_key_then_server_answers_and_never_sees_the_key(
    fake_gateway: GatewayProcess, fake: FakeServer, channel: grpc.Channel
) -> None:
    assert json.loads(ask(channel, fake_gateway.key)) == ANSWER
    (metadata,) = fake.grpc_metadata
    assert fake_gateway.key not in str(metadata)
    assert len(metadata["x-request-id"]) == 32


@pytest.mark.parametrize("key", [None, "wrong"])
def test_prediction_when_the_key_is_not_known_then_unauthenticated(
    fake: FakeServer, channel: grpc.Channel, key: str | None
) -> None:
    assert code_of(channel, key)[0] is grpc.StatusCode.UNAUTHENTICATED
    assert fake.grpc_metadata == []


@pytest.mark.parametrize(
    "method",
    [
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping",
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions",
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions2",
        "/org.pytorch.serve.grpc.management.ManagementAPIsService/RegisterModel",
        "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer",
        "/predictions/tweets",
    ],
)
def test_method_when_not_published_then_unimplemented(
    fake_gateway: GatewayProcess, channel: grpc.Channel, method: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"", timeout=30, metadata=(("authorization", f"Bearer {fake_gateway.key}"),))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]


def test_message_when_too_large_then_resource_exhausted_and_no_retry_helps(
    fake_gateway: GatewayProcess, fake: FakeServer, channel: grpc.Channel
) -> None:
    code, details = code_of(channel, fake_gateway.key, b"x" * (fake_gateway.settings.max_body_bytes + 1))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details  # by these words our client knows
    assert fake.grpc_metadata == []


def test_error_of_the_server_when_answered_then_passes(
    fake_gateway: GatewayProcess, fake: FakeServer, channel: grpc.Channel
) -> None:
    fake.grpc_code = grpc.StatusCode.INTERNAL
    assert code_of(channel, fake_gateway.key) == (grpc.StatusCode.INTERNAL, "no worker")


def test_server_when_down_then_unavailable(fake_gateway: GatewayProcess) -> None:
    with GatewayProcess.start(Ports.free(), fake_gateway.settings.golden_file) as gateway:
        credentials = grpc.ssl_channel_credentials(gateway.settings.certificate.read_bytes())
        with grpc.secure_channel(gateway.grpc_target, credentials) as channel:
            assert code_of(channel, gateway.key)[0] is grpc.StatusCode.UNAVAILABLE


def test_rate_when_exceeded_then_resource_exhausted(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    limits = {"key_requests_per_s": 1, "key_burst": 2}
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, limits) as gateway:
        credentials = grpc.ssl_channel_credentials(gateway.settings.certificate.read_bytes())
        with grpc.secure_channel(gateway.grpc_target, credentials) as channel:
            codes = []
            for _ in range(12):
                try:
                    ask(channel, gateway.key)
                except grpc.RpcError as error:
                    codes.append(error.code())  # type: ignore[attr-defined]
        assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(fake.grpc_metadata) == 12 - len(codes) >= 3


def test_our_client_when_given_credentials_and_key_then_predicts(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    credentials = grpc.ssl_channel_credentials(fake_gateway.settings.certificate.read_bytes())
    with GrpcClient(fake_gateway.grpc_target, api_key=fake_gateway.key, credentials=credentials) as client:
        assert client.predict("fire").label == "disaster"


def test_http_1_when_spoken_to_the_grpc_port_then_refused(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    address = fake_gateway.settings.grpc_address
    assert address is not None
    with contextlib.closing(
        http.client.HTTPSConnection("127.0.0.1", address.port, timeout=20, context=fake_gateway.tls)
    ) as connection:
        connection.request("POST", METHOD, body=b"x", headers={"Authorization": f"Bearer {fake_gateway.key}"})
        assert connection.getresponse().getheader("grpc-status") == "12"
    assert fake.grpc_metadata == []
