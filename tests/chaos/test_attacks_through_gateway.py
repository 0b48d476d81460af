"""What somebody on the network can do who reaches the gateway, with a key and without."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.supervised_server import SupervisedServer
from tests.ops.gateway.gateway_process import GatewayProcess
from tests.run_record import write_record
from tests.serving.torchserve_process import get_json

pytestmark = pytest.mark.serving

GUESSES = 200
CUT_OFF = 0  # in the place of a status
PREDICT = "/predictions/tweets"


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, str]]:
    found: dict[str, str] = {}
    yield found
    write_record("attacks_gateway", {"attacks": found})


def counted(statuses: Counter[int]) -> str:
    return ", ".join(f"{number} x {status or 'cut off'}" for status, number in sorted(statuses.items()))


def guess_keys(gateway: GatewayProcess) -> str:
    """Try keys: random ones, the good one cut, lengthened, in another case, in other headers and in the address."""
    good = gateway.key
    guesses = [good[:-1], good + "x", good.swapcase(), good[::-1], " ", "null", "*", "' or 1=1 --", "x" * 8000]
    guesses += [secrets.token_urlsafe(32) for _ in range(GUESSES)]
    statuses = Counter(gateway.predict("fire", key=guess).status for guess in guesses if guess != good)
    assert set(statuses) <= {400, 401, 403, 429}, statuses
    elsewhere = Counter(
        gateway.ask(path=path, body=b"fire", headers=headers, key=None).status
        for path, headers in (
            (PREDICT, {}),
            (f"{PREDICT}?key={good}", {}),
            (PREDICT, {"X-Key-Id": "tests"}),
            (PREDICT, {"Authorization": f"Basic {good}"}),
            (PREDICT, {"Authorization": good}),
        )
    )
    assert set(elsewhere) <= {400, 401, 403}, elsewhere
    return f"{counted(statuses)}; key elsewhere than in its header: {counted(elsewhere)}"


def reach_other_routes(gateway: GatewayProcess) -> str:
    """Ask with a good key for everything that is not published, plainly and in disguise."""
    paths = [
        "/models",
        "/models/tweets",
        "/models?url=http://127.0.0.1:9/x.mar",
        "/workflows?url=x",
        "/metrics",
        "/token",
    ]
    paths += [
        "/api-description",
        "/invocations",
        "/models/tweets/invoke",
        "/%6dodels",
        "//models",
        "/predictions/../models",
    ]
    paths += [
        "/predictions/tweets/../../models",
        "/predictions/%2e%2e/models",
        "/predictions/tweets%2f..%2f..%2fmodels",
    ]
    paths += ["/v1/models/tweets", "/v1/../models", "/explanations/../metrics", "/predictions/nobody", "/wfpredict/x"]
    statuses = Counter(
        gateway.ask(method, path, b"").status
        for path in paths
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS")
    )
    assert all(400 <= status < 500 for status in statuses), statuses
    return counted(statuses)


def send_too_much(gateway: GatewayProcess) -> str:
    """Send more than is allowed: body, announced body, chunks, header, address, many headers."""
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {gateway.key}\r\n".encode()
    body = b"x" * 6_553_501
    tries = [
        head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        head + b"Content-Length: 99999999999\r\n\r\nx",
        head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
        head + b"X-Long: " + b"x" * 100_000 + b"\r\nContent-Length: 1\r\n\r\nx",
        head.replace(b"tweets", b"x" * 100_000) + b"Content-Length: 1\r\n\r\nx",
        head + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"Content-Length: 1\r\n\r\nx",
    ]
    # The gateway may cut off whoever still sends after its refusal, before that is read.
    statuses = Counter((_statuses(gateway.send_raw(data, timeout_s=15)) or [CUT_OFF])[0] for data in tries)
    assert all(status == CUT_OFF or 400 <= status < 500 for status in statuses), statuses
    return counted(statuses)


def smuggle(gateway: GatewayProcess) -> str:
    """Hide a request for the model list in the body of another one, by every disagreement about lengths."""
    hidden = b"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {gateway.key}\r\n".encode()
    size = len(b"fire" + hidden)
    tries = [
        head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        head + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % size + hidden,
        head + b"Content-Length: 4\r\nContent-Length: %d\r\n\r\nfire" % size + hidden,
        head + b"Content-Length: +4\r\n\r\nfire" + hidden,
        head + b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nfire" + hidden,
        head + b"Transfer-Encoding: chunked, identity\r\n\r\n4\r\nfire\r\n0\r\n\r\n" + hidden,
        head + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 4\r\n\r\nfire" + hidden,
        head + b"Content-Length : 4\r\n\r\nfire" + hidden,
        head + b"Transfer-Encoding: chunked\r\n\r\n4;\nxx\r\nfire\r\n0\r\n\r\n" + hidden,
        head + b"X: y\r\n Content-Length: 4\r\nContent-Length: 4\r\n\r\nfire" + hidden,
    ]
    statuses: Counter[int] = Counter()
    for data in tries:
        received = gateway.send_raw(data, timeout_s=5)
        assert b"modelName" not in received, "the hidden request reached the server's list of models"
        statuses.update(_statuses(received) or [CUT_OFF])
    assert set(statuses) <= {CUT_OFF, 200, 400, 401, 403, 404, 405, 408, 411, 501}, statuses
    return f"no hidden request was let through; answers: {counted(statuses)}"


def speak_for_the_gateway(gateway: GatewayProcess) -> str:
    """Send the marks with which TorchServe and the gateway talk among themselves."""
    marks = {"describe": "True", "explain": "True", "X-Key-Id": "admin", "X-Forwarded-For": "127.0.0.1"}
    answer = gateway.predict("Dam breaks above the town", key="")
    assert answer.status == 200
    found = Counter()
    for name, value in marks.items():
        marked = gateway.ask(body=b"Dam breaks above the town", headers={"Content-Type": "text/plain", name: value})
        found[marked.status] += 1
        assert marked.body == answer.body, f"the header {name} of a client changed the answer: {marked.body[:200]!r}"
    return f"{counted(found)}, the ordinary answer each time"


def _statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]


ATTACKS: dict[str, Callable[[GatewayProcess], str]] = {
    "key guessing": guess_keys,
    "routes that are not published": reach_other_routes,
    "oversized body, chunk, header, address": send_too_much,
    "smuggled request": smuggle,
    "headers that are the server's own marks": speak_for_the_gateway,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_the_gateway_fails(
    guarded: tuple[SupervisedServer, GatewayProcess], name: str, outcomes: dict[str, str]
) -> None:
    server, gateway = guarded
    running = server.wait_ready()
    pids = running.worker_pids()
    outcomes[name] = ATTACKS[name](gateway)
    assert running.worker_pids() == pids
    assert [model["modelName"] for model in get_json(f"{running.management_url}/models")["models"]] == ["tweets"]
