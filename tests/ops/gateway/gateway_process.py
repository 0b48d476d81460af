"""Start one real gateway on loopback before any server, with settings, certificate and keys of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.servers.gateway_cost import settings_before
from ops.gateway.certificate import make_certificate
from ops.gateway.keys import create_key
from ops.gateway.settings import GatewaySettings, read_gateway_settings
from tests.serving.torchserve_process import REPOSITORY, Ports

MODULE = "ops.gateway.commands"
DEFAULTS = REPOSITORY / "deploy" / "gateway" / "gateway.yaml"
PREDICT = "/predictions/tweets"


def require_nginx() -> None:
    """Skip where nginx is missing; fail instead where REQUIRE_DEBIAN says that it must be there."""
    if shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin") is None:
        message = "nginx is missing: apt-get install nginx"
        if os.environ.get("REQUIRE_DEBIAN") == "1":
            pytest.fail(message)
        pytest.skip(message)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, whole; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable word of an error."""
        return str(self.json()["error"]["code"])


@dataclass
class GatewayProcess:
    """One running gateway.

    Args:
        file: its settings file.
        settings: what the file says.
        key: an API key that is good.
    """

    file: Path
    settings: GatewaySettings
    key: str
    supervisor: subprocess.Popen[bytes] = field(init=False)

    @classmethod
    def start(
        cls, server: Ports, golden_file: Path, changes: Mapping[str, Any] | None = None, name: str = ""
    ) -> GatewayProcess:
        """Start a gateway before a server, which need not run.

        Args:
            server: its ports.
            golden_file: the golden answers of its archive.
            changes: of gateway.yaml; free ports and a folder of its own are always taken.
            name: of a folder below that one; "" has none.
        """
        require_nginx()
        folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp" if os.path.isdir("/tmp") else None)) / name
        folder.mkdir(exist_ok=True)
        own = Ports.free()
        values = {
            **settings_before(server, own, folder, golden_file),
            **(changes or {}),
        }
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        settings = read_gateway_settings(file, REPOSITORY)
        make_certificate(settings.certificate, settings.private_key, settings.host_names or ("127.0.0.1",))
        _, key = create_key(settings.keys_file, "tests")
        process = cls(file, settings, key)
        process.run()
        return process

    def run(self) -> None:
        """Start the gateway in the foreground of a process of its own and wait until it answers."""
        console = self.file.with_name("console.log")
        command = [sys.executable, "-m", MODULE, "--settings", str(self.file), "run"]
        with console.open("ab") as output:
            self.supervisor = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.ask("GET", "/live", key=None, headers={"Host": "localhost"}, timeout_s=5)
                return
            if self.supervisor.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"the gateway does not start:\n{console.read_text()[-2000:]}")
            time.sleep(0.05)

    def command(self, *words: str) -> str:
        """Run one command of disaster-tweets gateway and return what it printed."""
        command = [sys.executable, "-m", MODULE, "--settings", str(self.file), *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def change(self, **values: Any) -> None:
        """Change settings of the running gateway; they count a moment later."""
        now = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        self.file.write_text(yaml.safe_dump({**now, **values}), encoding="utf-8")
        self.supervisor.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it gracefully, and kill what does not go."""
        self.supervisor.terminate()
        try:
            self.supervisor.wait(60)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait()
        shutil.rmtree(self.file.parent, ignore_errors=True)

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def rest_url(self) -> str:
        return f"https://127.0.0.1:{self.settings.rest_address.port}"

    @property
    def grpc_target(self) -> str:
        assert self.settings.grpc_address is not None
        return f"127.0.0.1:{self.settings.grpc_address.port}"

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts this gateway only."""
        return ssl.create_default_context(cafile=str(self.settings.certificate))

    def ask(
        self,
        method: str = "POST",
        path: str = PREDICT,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = "",
        timeout_s: float = 60,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send one request on a connection of its own.

        Args:
            method: of the request.
            path: with a query, if any.
            body: None sends none.
            headers: beside Host, Content-Length and the key.
            key: "" takes the good one, None sends none.
            timeout_s: for each wait.
            tls: instead of `self.tls`.
        """
        port = self.settings.rest_address.port
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout_s, context=tls or self.tls)
        with contextlib.closing(connection):
            sent = {"Authorization": f"Bearer {key or self.key}"} if key is not None else {}
            connection.request(method, path, body=body, headers={**sent, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def predict(self, text: str, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """Ask for one tweet as plain text."""
        return self.ask(body=text.encode(), headers={"Content-Type": "text/plain", **(headers or {})}, **options)

    def send_raw(self, data: bytes, timeout_s: float = 20) -> bytes:
        """Send bytes that need not be HTTP over TLS and return all that comes back until the end or the time."""
        address = ("127.0.0.1", self.settings.rest_address.port)
        received = b""
        with (
            socket.create_connection(address, timeout=timeout_s) as plain,
            self.tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            contextlib.suppress(OSError),
        ):
            connection.sendall(data)
            while piece := connection.recv(65536):
                received += piece
        return received

    def logged(self) -> str:
        """Return everything that the gateway wrote: access log, console, generated files."""
        files = [path for path in self.file.parent.rglob("*") if path.is_file() and path != self.settings.private_key]
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(files))

    def access_lines(self) -> list[dict[str, Any]]:
        """Return the access log, parsed."""
        return [json.loads(line) for line in self.settings.access_log.read_text(encoding="utf-8").splitlines()]
