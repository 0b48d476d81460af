"""TorchServe's streaming calls, which would end the worker, are refused; nobody else notices."""

from __future__ import annotations

import grpc
import pytest

from disaster_tweets_client.stubs import inference_pb2
from tests.serving.torchserve_process import TorchServeProcess, get_json

pytestmark = pytest.mark.serving

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"


def worker_pids(server: TorchServeProcess) -> list[int]:
    (model,) = get_json(f"{server.management_url}/models/tweets")
    return [worker["pid"] for worker in model["workers"]]


@pytest.mark.parametrize("name", ["StreamPredictions", "StreamPredictions2"])
def test_a_streaming_call_is_refused_and_the_worker_lives(server: TorchServeProcess, name: str) -> None:
    before = worker_pids(server)
    message = inference_pb2.PredictionsRequest(model_name="tweets", input={"data": b"Dam breaks above the town"})
    with grpc.insecure_channel(server.grpc_target) as channel:
        for _ in range(3):
            call = channel.unary_stream(f"{SERVICE}/{name}")(message.SerializeToString(), timeout=30)
            with pytest.raises(grpc.RpcError) as refused:
                list(call)
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        answer = channel.unary_unary(f"{SERVICE}/Predictions")(message.SerializeToString(), timeout=30)
    assert b'"label":"disaster"' in inference_pb2.PredictionResponse.FromString(answer).prediction
    assert worker_pids(server) == before
