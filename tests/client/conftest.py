"""A stub server a test, and a client of each protocol for it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from disaster_tweets_client import GrpcClient, RestClient
from tests.client.stub_server import StubServer

Client = RestClient | GrpcClient


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture(params=["rest", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def connect(protocol: str, stub: StubServer) -> Iterator[Callable[..., Client]]:
    """Make clients of the test's protocol for the stub server; they are closed after the test."""
    clients: list[Client] = []

    def make(**settings: object) -> Client:
        client = (
            RestClient(stub.rest_url, **settings) if protocol == "rest" else GrpcClient(stub.grpc_target, **settings)
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    return connect(timeout_s=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
