"""Try to get predictions without a key, by requests hidden in the bodies of requests that need none.

    python -m tests.ops.gateway.smuggling [--rounds 64]

starts a gateway in front of a fake server, attacks it and prints how many keyless requests were answered 200. A round
sends one request with a hidden one in its body to a public address, then asks for a prediction without a key.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc

from tests.ops.gateway.fake_server import FakeServer, write_golden
from tests.ops.gateway.gateway_process import PREDICT, GatewayProcess
from tests.serving.torchserve_process import Ports

ROUNDS = 64  # nginx has two workers, and each keeps its own connections to the guard
GRPC_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
# `/recovered` and what follows are not published; they are tried all the same.
PUBLIC = ("/live", "/ready", "/openapi.yaml", "/recovered", "/auth", "/nothing", PREDICT)
OPEN_LINE = b"GET /live HTTP/1.1\r\nX: "
WHOLE = b"GET /recovered HTTP/1.1\r\n\r\n"


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


# name -> further headers, and the bytes after the header
HIDDEN: Mapping[str, tuple[tuple[str, ...], bytes]] = {
    "open header line": ((f"Content-Length: {len(OPEN_LINE)}",), OPEN_LINE),
    "whole request": ((f"Content-Length: {len(WHOLE)}",), WHOLE),
    "one word": (("Content-Length: 5",), b"x\r\n\r\n"),
    "chunked": (("Transfer-Encoding: chunked",), _chunked(OPEN_LINE)),
    "many requests": ((f"Content-Length: {40 * len(WHOLE)}",), 40 * WHOLE),
    "large": ((f"Content-Length: {300_000 + len(OPEN_LINE)}",), b"x" * 300_000 + OPEN_LINE),
    "announced": ((f"Content-Length: {len(OPEN_LINE)}", "Expect: 100-continue"), OPEN_LINE),
}


def poison(gateway: GatewayProcess, path: str, hidden: str, method: str = "GET") -> None:
    """Send one request to a public address with a hidden one in its body."""
    headers, body = HIDDEN[hidden]
    host = "Host: localhost"
    head = "\r\n".join([f"{method} {path} HTTP/1.1", host, "Connection: close", *headers, "", ""])
    gateway.send_raw(head.encode("ascii") + body)


def ask_rest(gateway: GatewayProcess, spoofed: Mapping[str, str] | None = None) -> str:
    """Ask for a prediction without a key; return the status."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return str(gateway.ask(body=b"x", key=None, headers=spoofed, timeout_s=20).status)
    return "no answer"


def ask_grpc(channel: grpc.Channel) -> str:
    """Ask for a prediction without a key over gRPC; return "200" for an answer, else the gRPC status."""
    try:
        channel.unary_unary(GRPC_METHOD)(b"\x0a\x06tweets", timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)  # type: ignore[attr-defined]
    return "200"


def attack_rest(gateway: GatewayProcess, path: str, hidden: str, rounds: int = ROUNDS) -> Counter[str]:
    """Return how often keyless REST requests got which status."""
    found: Counter[str] = Counter()
    for _ in range(rounds):
        poison(gateway, path, hidden)
        found[ask_rest(gateway)] += 1
    return found


def attack_grpc(gateway: GatewayProcess, path: str, hidden: str, rounds: int = ROUNDS) -> Counter[str]:
    """Return how often keyless gRPC requests got which status.

    The gRPC port has no public address; its questions to the guard could share connections with those of REST.
    """
    found: Counter[str] = Counter()
    credentials = grpc.ssl_channel_credentials(gateway.settings.certificate.read_bytes())
    options = (("grpc.use_local_subchannel_pool", 1),)
    with contextlib.ExitStack() as stack:
        # Some channels, so that both workers are asked.
        channels = [
            stack.enter_context(grpc.secure_channel(gateway.grpc_target, credentials, options)) for _ in range(4)
        ]
        for number in range(rounds):
            poison(gateway, path, hidden)
            found[ask_grpc(channels[number % len(channels)])] += 1
    return found


def main(arguments: Iterable[str] | None = None) -> int:
    """Attack a gateway of its own; return 1 when anything was answered."""
    parser = argparse.ArgumentParser(description="count the predictions that are given without a key")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(list(arguments) if arguments is not None else None).rounds
    let_in = 0
    fake = FakeServer(Ports.free())
    golden = write_golden(Path(tempfile.mkdtemp()))
    with fake.running(), GatewayProcess.start(fake.ports, golden) as gateway:
        for name, attack in (("REST", attack_rest), ("gRPC", attack_grpc)):
            for path in PUBLIC if attack is attack_rest else PUBLIC[:2]:
                for hidden in HIDDEN:
                    found = attack(gateway, path, hidden, rounds)
                    let_in += found["200"]
                    others = ", ".join(f"{status} x {count}" for status, count in sorted(found.items()))
                    print(f"{name}  {path:22} {hidden:17} 200: {found['200']:2} of {rounds}   ({others})", flush=True)
    print(f"answered without a key: {let_in}")
    return int(let_in > 0)


if __name__ == "__main__":
    sys.exit(main())
