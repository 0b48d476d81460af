"""A stand-in for `torchserve --start`: the same files, ports and habits, without Java and without a model.

Its behaviour comes from FAKE_TORCHSERVE: ready, wrong, refuses, dies, silent, loses its pid file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MAIN_CLASS = "org.pytorch.serve.ModelServer"
REFUSAL = (
    "2026-01-01T00:00:00,000 [INFO ] W-9000 - Failed to load model tweets, exception bundle.json: another sha256\n"
)
AFTERMATH = "2026-01-01T00:00:00,000 [INFO ] W-9000 - RuntimeError: 500 - Unknown exception\n"


def launch() -> None:
    if os.environ["FAKE_TORCHSERVE"] == "dies at once":
        print("Unrecognized option: -Xnonsense")
        sys.exit(1)
    server = subprocess.Popen([sys.executable, __file__, MAIN_CLASS])
    Path(".run/java.pid").write_text(str(server.pid))
    if os.environ["FAKE_TORCHSERVE"] == "loses its pid file":
        print("start java frontend failed: PermissionError")
        sys.exit(1)
    Path(tempfile.gettempdir(), ".model_server.pid").write_text(str(server.pid))


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = os.environ["FAKE_TORCHSERVE"] in ("ready", "wrong")
        self._answer([{"modelName": "tweets", "workers": [{"status": "READY" if ready else "UNLOADED"}]}])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        score = 0.9 if os.environ["FAKE_TORCHSERVE"] == "ready" else 0.8
        prediction = {"label": "disaster", "score": score, "decision": "disaster", "model_version": "fake"}
        if self.headers["Content-Type"] == "application/json":
            self._answer({"predictions": [prediction] * len(json.loads(body))})
        else:
            self._answer(prediction)

    def _answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def serve() -> None:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(".run/worker.pid").write_text(str(worker.pid))
    if os.environ["FAKE_TORCHSERVE"] == "refuses":
        Path("logs").mkdir(exist_ok=True)
        with Path("logs/model_log.log").open("a") as log:
            log.write(REFUSAL + AFTERMATH)
    if os.environ["FAKE_TORCHSERVE"] == "dies":
        Path("logs").mkdir(exist_ok=True)
        Path("logs/ts_log.log").write_text("2026-01-01 [ERROR] main org.pytorch - No such model archive\n")
        worker.kill()
        time.sleep(1)
        sys.exit(1)
    settings = dict(line.split("=", 1) for line in Path("config.properties").read_text().splitlines())
    ports = [int(settings[f"{name}_address"].rsplit(":", 1)[1]) for name in ("inference", "management")]
    servers = [ThreadingHTTPServer(("127.0.0.1", port), Answers) for port in ports]
    threading.Thread(target=servers[0].serve_forever, daemon=True).start()
    servers[1].serve_forever()


if __name__ == "__main__":
    serve() if MAIN_CLASS in sys.argv else launch()
