"""The same faults with the gateway between client and server, and those that only a gateway can bear.

The client tries again over TLS with its key; the gateway waits for a server that is being started again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from functools import partial

import grpc
import pytest

from disaster_tweets_client import GrpcClient, RestClient
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.recorded import (
    HEADER_TIMEOUT_S,
    PATIENCE_S,
    RESPONSE_TIMEOUT_S,
    TWEETS_AFTER,
    TWEETS_BEFORE,
    Recorded,
    judge,
)
from tests.chaos.stream import Stream
from tests.chaos.supervised_server import SupervisedServer
from tests.ops.gateway.gateway_process import GatewayProcess
from tests.run_record import write_record

pytestmark = pytest.mark.serving

IS_LONG = "CHAOS" in os.environ
# What the server itself cannot bear for long, or only the gateway is to bear.
SHORT = ("kill -9 of the worker",)


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    found: Recorded = []
    yield found
    if IS_LONG:
        write_record("chaos_gateway", {"response_timeout_s": RESPONSE_TIMEOUT_S, "faults": found})


def rest_client(gateway: GatewayProcess) -> RestClient:
    certificate = str(gateway.settings.certificate)
    return RestClient(gateway.rest_url, timeout_s=PATIENCE_S, retries=None, api_key=gateway.key, ca_file=certificate)


def grpc_client(gateway: GatewayProcess) -> GrpcClient:
    credentials = grpc.ssl_channel_credentials(gateway.settings.certificate.read_bytes())
    return GrpcClient(
        gateway.grpc_target, timeout_s=PATIENCE_S, retries=None, api_key=gateway.key, credentials=credentials
    )


@pytest.mark.parametrize("protocol", ["REST", "gRPC"] if IS_LONG else ["REST"])
@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if "disk" not in fault.name and (IS_LONG or fault.name in SHORT)],
    ids=lambda fault: fault.name,
)
def test_a_fault_behind_the_gateway_costs_no_tweet_its_answer(
    guarded: tuple[SupervisedServer, GatewayProcess], fault: Fault, protocol: str, recorded: Recorded
) -> None:
    server, gateway = guarded
    server.wait_ready()
    make_client = partial(rest_client if protocol == "REST" else grpc_client, gateway)
    with Stream(make_client, lambda: gateway.predict("Dam breaks above the town", timeout_s=40).status) as stream:
        stream.wait_for(TWEETS_BEFORE, PATIENCE_S)
        fault_at = time.monotonic()
        with fault.inflict(server):
            stream.wait_for(TWEETS_AFTER, PATIENCE_S)
    server.wait_ready()
    with rest_client(gateway) as client:
        stream.check(client.predict)
    judge(stream, fault.name, fault_at, protocol, recorded)


def test_slow_and_half_open_clients_are_cut_off_and_cost_nobody_an_answer(
    guarded: tuple[SupervisedServer, GatewayProcess], recorded: Recorded
) -> None:
    server, gateway = guarded
    server.wait_ready()
    count = 60
    head = f"POST /predictions/tweets HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {gateway.key}\r\n".encode()
    ask_without_retries = partial(gateway.predict, "Dam breaks above the town", timeout_s=40)
    with (
        Stream(partial(rest_client, gateway), lambda: ask_without_retries().status) as stream,
        contextlib.ExitStack() as stack,
    ):
        stream.wait_for(TWEETS_BEFORE, PATIENCE_S)
        fault_at = time.monotonic()
        connections = []
        for number in range(count):
            plain = stack.enter_context(
                socket.create_connection(("127.0.0.1", gateway.settings.rest_address.port), timeout=60)
            )
            if number % 3 == 0:
                connections.append(plain)  # opens, and says nothing
                continue
            encrypted = stack.enter_context(gateway.tls.wrap_socket(plain, server_hostname="127.0.0.1"))
            encrypted.sendall(head if number % 3 == 1 else head + b"Content-Length: 500\r\n\r\nx")
            connections.append(encrypted)
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                while connection.recv(4096):  # ends when the gateway has closed it, and at the latest by time-out
                    pass
        cut_after_s = time.monotonic() - fault_at
        stream.wait_for(TWEETS_AFTER, PATIENCE_S)
    with rest_client(gateway) as client:
        stream.check(client.predict)
    name = (
        f"{count} slow and half-open clients, all cut off within {cut_after_s:.0f} s (limit {HEADER_TIMEOUT_S} s each)"
    )
    judge(stream, name, fault_at, "REST", recorded)
