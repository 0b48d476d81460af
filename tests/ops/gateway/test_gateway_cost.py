"""The benchmark's own gateway: started as `make gateway` does, asked over TLS with a key, gone in the end."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from benchmark.servers import gateway_cost
from benchmark.servers.end_to_end import Bodies, Case
from benchmark.servers.gateway_cost import Plan, before, in_turn, measure_gateway
from benchmark.servers.load_generator import Load, Measured, Run
from benchmark.servers.profiles import Ports, Profile
from benchmark.servers.server import Server
from ops.gateway.supervisor import GatewayError
from tests.conftest import ROOT
from tests.ops.gateway.fake_server import FakeServer

REQUESTS = 1_100  # nginx ends a connection after 1,000


def ask(count: int, **through) -> Measured:
    load = Load(bodies_file="", count=count, seconds=120.0, warm_up_s=0.0, **through)
    return Run(load, [b"Dam breaks above the town"]).measure()


def test_a_load_through_the_gateway_is_answered_in_full_and_nothing_is_left(fake: FakeServer) -> None:
    with before(fake.ports, ROOT) as gateway:
        used = gateway.cpu_seconds()
        found = ask(REQUESTS, **gateway.load)
        assert found.errors == {}
        assert len(found.latencies_ms) == len(fake.received) == REQUESTS
        assert gateway.cpu_seconds() > used
        assert ask(3, **{**gateway.load, "key": "wrong"}).errors == {"HTTP 401": 3}
        family = [gateway.process, *gateway.process.children(recursive=True)]
    assert len(family) > 2
    assert not [process for process in family if psutil.pid_exists(process.pid)]
    assert not gateway.ca_file.parent.exists()


def test_both_ways_are_measured_in_turn_and_only_one_of_them_costs_the_gateway_anything(
    fake: FakeServer, tmp_path: Path
) -> None:
    bodies = Bodies.write(tmp_path, ["Dam breaks above the town"] * 64, ())
    ports = Ports(fake.ports.inference, fake.ports.management, 0, fake.ports.grpc_inference, 0)
    server = Server(Profile("fake", tmp_path, ports, 1), psutil.Process(), tmp_path, 0.0)
    with before(fake.ports, ROOT) as gateway:
        direct, through = in_turn(server, gateway, bodies, Plan([Case("single", 2, 0.5)], 0.0, repetitions=2))
    assert (direct["profile"], through["profile"]) == ("direct", "gateway")
    for row in (direct, through):
        assert row["errors"] == {}
        assert len(row["tweets_per_s"]["values"]) == 2
        assert row["tweets_per_s"]["low"] > 0
    assert through["gateway_cpu_ms_per_tweet"]["low"] > 0
    assert "gateway_cpu_ms_per_tweet" not in direct


def test_without_nginx_it_is_left_out_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def none() -> str:
        raise GatewayError("there is no nginx; install nginx (Debian: apt-get install nginx)")

    monkeypatch.setattr(gateway_cost, "find_nginx", none)
    assert measure_gateway(ROOT, tmp_path, Bodies.write(tmp_path / "bodies", [], ()), gateway_cost.QUICK) == []
    said = capsys.readouterr().err
    assert said == (
        "left out: what the gateway costs: there is no nginx; install nginx (Debian: apt-get install nginx)\n"
    )
