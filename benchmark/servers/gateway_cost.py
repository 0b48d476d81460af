"""What the gateway costs: the same running server asked directly and through nginx with TLS and an API key, in turn."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from tqdm import tqdm

from benchmark.servers.end_to_end import Bodies, Case, closed_loop, summarise
from benchmark.servers.profiles import NO_CACHE, Ports, our_profile
from benchmark.servers.server import Server, running
from ops.gateway.certificate import make_certificate
from ops.gateway.keys import create_key
from ops.gateway.settings import DEFAULT_FILE
from ops.gateway.supervisor import GatewayError, find_nginx
from ops.paths import ROOT
from ops.settings.server import GOLDEN

DIRECT, THROUGH = "direct", "gateway"
DEFAULT_SETTINGS = ROOT / DEFAULT_FILE
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0
WARM_UP_CONNECTIONS = 64
# One generator with one key asks for as much as the server gives; the limits as shipped would answer it 429.
NO_LIMIT = 1_000_000
LIFTED = ("address_requests_per_s", "address_burst", "key_requests_per_s", "key_burst")


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Args:
        cases: closed loops, each directly and through the gateway.
        warm_up_s: of the server and of the gateway.
        repetitions: of all cases.
    """

    cases: Sequence[Case]
    warm_up_s: float
    repetitions: int


FULL = Plan([Case("single", 1, 3), Case("single", 64, 3)], warm_up_s=4.0, repetitions=5)
QUICK = Plan([Case("single", 1, 1), Case("single", 64, 1)], warm_up_s=1.0, repetitions=1)


@dataclass(frozen=True)
class Gateway:
    """A running gateway.

    Args:
        process: `disaster-tweets gateway run`; nginx and the guard are its children.
        port: of HTTPS on 127.0.0.1.
        ca_file: whom to trust.
        key: an API key.
    """

    process: psutil.Process
    port: int
    ca_file: Path
    key: str

    @property
    def load(self) -> dict[str, Any]:
        """Return the fields of a `Load` that lead through it."""
        return {"port": self.port, "ca_file": str(self.ca_file), "key": self.key}

    def cpu_seconds(self) -> float:
        """Return the processor time used so far by nginx and the guard."""
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


def measure_gateway(project: Path, work: Path, bodies: Bodies, plan: Plan) -> list[dict[str, Any]]:
    """Start our server, answer cache off, and a gateway before it, and return a row for each case and way.

    Args:
        project: the checkout with a built archive.
        work: for the server's folder.
        bodies: what is sent.
        plan: what to measure.

    Returns:
        Nothing where nginx is not installed; one line says so.

    Raises:
        ServerError: the server does not come up.
        GatewayError: the gateway does not come up.
    """
    try:
        find_nginx()
    except GatewayError as error:
        print(f"left out: what the gateway costs: {error}", file=sys.stderr)
        return []
    print("server with and without its gateway ...", file=sys.stderr)
    profile = our_profile("ours", project, work / "behind_gateway", NO_CACHE)
    with running(profile) as server, before(profile.ports, project) as gateway:
        warm_up = Case("single", WARM_UP_CONNECTIONS, plan.warm_up_s)
        for through in (None, gateway):
            closed_loop(server, warm_up, bodies, 0, through)
        return in_turn(server, gateway, bodies, plan)


def in_turn(server: Server, gateway: Gateway, bodies: Bodies, plan: Plan) -> list[dict[str, Any]]:
    """Return the rows of all cases; every repetition asks each way once, the second one with the ways exchanged."""
    found: dict[tuple[str, Case], list[dict[str, Any]]] = {
        (way, case): [] for case in plan.cases for way in (DIRECT, THROUGH)
    }
    with tqdm(total=len(found) * plan.repetitions, disable=None, unit="loop") as bar:
        for number in range(plan.repetitions):
            for case in plan.cases:
                for way in (DIRECT, THROUGH) if number % 2 == 0 else (THROUGH, DIRECT):
                    bar.set_description(f"{way} {case.connections}")
                    through = gateway if way == THROUGH else None
                    # Both ways of a repetition send the same tweets.
                    found[way, case].append(closed_loop(server, case, bodies, number * 1_009, through))
                    bar.update()
    return [summarise(way, case, values) for (way, case), values in found.items()]


def settings_before(server: Ports, own: Ports, folder: Path, golden_file: Path) -> dict[str, Any]:
    """Return the shipped settings of a gateway, but with these ports and with files in a folder of its own."""
    return {
        **yaml.safe_load(DEFAULT_SETTINGS.read_text(encoding="utf-8")),
        "rest_address": f"127.0.0.1:{own.inference}",
        "grpc_address": f"127.0.0.1:{own.grpc_inference}",
        "certificate": str(folder / "certificate.pem"),
        "private_key": str(folder / "private_key.pem"),
        "keys_file": str(folder / "keys.json"),
        "server_rest": f"127.0.0.1:{server.inference}",
        "server_management": f"127.0.0.1:{server.management}",
        "server_grpc": f"127.0.0.1:{server.grpc_inference}",
        "golden_file": str(golden_file),
        "run_folder": str(folder / "run"),
        "access_log": str(folder / "access.log"),
    }


@contextlib.contextmanager
def before(server: Ports, project: Path) -> Iterator[Gateway]:
    """Run `disaster-tweets gateway run` before a server, with the shipped settings but ports, files and lifted limits.

    Raises:
        GatewayError: it does not come up; with the end of its console.
    """
    # Sockets lie in it, and a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    own = Ports.free()
    values = {
        **settings_before(server, own, folder, project / GOLDEN),
        **dict.fromkeys(LIFTED, NO_LIMIT),
        "grpc_address": None,
    }
    settings, certificate, console = (folder / name for name in ("gateway.yaml", "certificate.pem", "console.log"))
    settings.write_text(yaml.safe_dump(values), encoding="utf-8")
    make_certificate(certificate, folder / "private_key.pem", ["127.0.0.1"])
    _, key = create_key(folder / "keys.json", "benchmark")
    with console.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "ops.gateway.commands", "--settings", str(settings), "--root", str(project), "run"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then stops the gateway
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(own.inference, certificate):
            if child.poll() is not None or time.monotonic() > deadline:
                raise GatewayError(f"the gateway does not start: {console.read_text(errors='replace')[-800:]}")
            time.sleep(0.05)
        yield Gateway(psutil.Process(child.pid), own.inference, certificate, key)
    finally:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()  # nginx and the guard end with it
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int, certificate: Path) -> bool:
    tls = ssl.create_default_context(cafile=str(certificate))
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        contextlib.closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=10.0, context=tls)) as connection,
    ):
        connection.request("GET", "/live")
        return connection.getresponse().status == http.client.OK
    return False
