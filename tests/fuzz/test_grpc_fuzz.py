"""Messages drawn at random over gRPC, in batches with good requests over HTTP, against a real TorchServe.

TorchServe says INTERNAL for whatever it refuses, so a code tells little; what is promised is that each call ends, that
no worker is lost and that no neighbour's answer changes. FUZZ_GRPC_CALLS says how many are drawn.
"""

from __future__ import annotations

import collections
import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from disaster_tweets_client.stubs import inference_pb2
from tests.fuzz.drawn_requests import BODIES, LENGTHS, SEEDS, TEXTS
from tests.fuzz.http_exchange import PATIENCE_S, exchange
from tests.fuzz.neighbours import Neighbours
from tests.fuzz.server_health import HealthWatch
from tests.run_record import write_record
from tests.serving.torchserve_process import TorchServeProcess

pytestmark = pytest.mark.serving

NUM_CALLS = int(os.environ.get("FUZZ_GRPC_CALLS", "300"))
BATCH = 6
COMPANY = 3
SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
METHODS = ("Predictions", "Predictions", "Predictions", "StreamPredictions", "Ping", "Nothing")
# A call that ends so met a server that is gone or asleep.
BROKEN_PROMISES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class DrawnCall:
    """One call: the method, the bytes of its message and its metadata."""

    method: str
    message: bytes
    metadata: tuple[tuple[str, str], ...] = ()


def _message(model: str, version: str, name: str, body: bytes, damage_seed: int | None) -> bytes:
    text = "".join(character for character in name if not 0xD800 <= ord(character) < 0xE000)  # protobuf has UTF-8 only
    message = inference_pb2.PredictionsRequest(model_name=model, model_version=version, input={text: body})
    data = bytearray(message.SerializeToString())
    if damage_seed is not None:
        draw = random.Random(damage_seed)
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


MESSAGES = st.one_of(
    st.builds(
        _message,
        st.sampled_from(("tweets", "tweets", "tweets", "nobody", "", "../tweets", "\x00")),
        st.sampled_from(("", "", "", "9.9", "\u00e9")),
        st.one_of(st.sampled_from(("data", "text", "body")), TEXTS),
        st.one_of(*BODIES.values()),
        st.one_of(st.none(), st.none(), SEEDS),
    ),
    st.builds(lambda seed, length: random.Random(seed).randbytes(length), SEEDS, LENGTHS),
)
CALLS = st.builds(
    DrawnCall,
    st.sampled_from(METHODS),
    MESSAGES,
    st.lists(
        st.tuples(
            st.sampled_from(("x-deadline-ms", "explain", "describe", "x-request-id", "authorization")),
            st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
        ),
        max_size=2,
    ).map(tuple),
)


def call(channel: grpc.Channel, drawn: DrawnCall) -> grpc.StatusCode:
    """Make one call and return how it ended."""
    try:
        if drawn.method == "StreamPredictions":
            stream = channel.unary_stream(f"{SERVICE}/{drawn.method}")
            for _ in stream(drawn.message, timeout=PATIENCE_S, metadata=drawn.metadata):
                pass
        else:
            channel.unary_unary(f"{SERVICE}/{drawn.method}")(drawn.message, timeout=PATIENCE_S, metadata=drawn.metadata)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_drawn_calls_among_good_requests_cost_nobody_anything(fuzzed_server: TorchServeProcess) -> None:
    port = fuzzed_server.ports.inference
    neighbours, health = Neighbours(port), HealthWatch(fuzzed_server)
    health.look(0)
    codes: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    with ThreadPoolExecutor(BATCH + COMPANY) as pool, grpc.insecure_channel(fuzzed_server.grpc_target) as channel:

        @settings(
            max_examples=-(-NUM_CALLS // BATCH),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize="FUZZ_GRPC_CALLS" not in os.environ,
        )
        @given(st.lists(CALLS, min_size=BATCH, max_size=BATCH), st.integers(0, 999))
        def send(drawn: list[DrawnCall], first: int) -> None:
            company = [neighbours.requests[(first + index) % len(neighbours.requests)] for index in range(COMPANY)]
            replies = pool.map(lambda request: exchange(port, request), company)
            for one, code in zip(drawn, pool.map(lambda one: call(channel, one), drawn), strict=True):
                codes[code.name] += 1
                if code in BROKEN_PROMISES:
                    problems.append(f"{code.name} to {one!r:.600}")
            for request, reply in zip(company, replies, strict=True):
                if problem := neighbours.problem_with(request, reply):
                    problems.append(problem)

        send()
    health.look(sum(codes.values()))
    write_record(
        "fuzz_grpc",
        {
            "calls": sum(codes.values()),
            "codes": dict(codes.most_common()),
            "problems": len(problems),
            "neighbours": asdict(neighbours.count),
            **health.facts(),
        },
    )
    assert not problems, "\n".join(problems[:10])
    assert codes["OK"] > 0
    assert sum(codes.values()) >= NUM_CALLS
    assert health.restarts == 0
