"""A whole installation in miniature, and the ways to break it that the doctor must find.

`python -m tests.ops.doctor.broken_configurations --out reports/reliability/doctor.json` writes what it
says of each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ops.doctor import commands as doctor
from tests.ops.doctor.broken_gateways import BROKEN_GATEWAYS
from tests.serving.torchserve_process import Ports, write_config
from tests.support.signed_archive import FILES, seal, write_zip

ROOT = Path(__file__).resolve().parents[3]
ORDINARY_USER = 1000


@dataclass
class Installation:
    """A root that the doctor finds nothing wrong with.

    Args:
        root: config.properties on free ports, the yaml, a small signed archive.
        bin_dir: holds a java.
        variables: of the environment.
        user: whose files may be in the temporary folder.
    """

    root: Path
    bin_dir: Path
    variables: dict[str, str] = field(default_factory=dict)
    user: int = field(default_factory=os.getuid)

    def property(self, *lines: str) -> None:
        """Set keys of config.properties, each in the place of its line where it has one."""
        path = self.root / "config.properties"
        values = {line.partition("=")[0]: line for line in lines}
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if line.partition("=")[0] not in values]
        path.write_text("\n".join([*kept, *lines]) + "\n", encoding="utf-8")

    def append(self, line: str) -> None:
        with (self.root / "config.properties").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def examine(self) -> list[Any]:
        """Ask the doctor, as an ordinary user whose only temporary folder is the one of the tests."""
        variables = {"TEMP": tempfile.gettempdir(), **self.variables}
        with patch.object(os, "geteuid", return_value=ORDINARY_USER), patch.object(os, "getuid", lambda: self.user):
            return doctor.examine(self.root, self.bin_dir, variables)


def make_installation(folder: Path) -> Installation:
    root, bin_dir = folder / "root", folder / "bin"
    for path in (root / "handler", root / "tweetclf", bin_dir):
        path.mkdir(parents=True)
    write_config(root, Ports.free())
    for name in ("handler/model-config.yaml", "tweetclf/handler_settings.py", "log4j2.xml"):
        shutil.copyfile(ROOT / name, root / name)
    files = {**FILES, "model-config.yaml": (ROOT / "handler/model-config.yaml").read_bytes()}
    archive = write_zip(root / "model_store" / "tweets.mar", files)
    archive.with_suffix(".golden.json").write_text("[]", encoding="utf-8")
    seal(archive, root / ".keys", files)
    shutil.copyfile(Path(sys.executable).with_name("torchserve"), bin_dir / "torchserve")
    java = bin_dir / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n", encoding="utf-8")
    java.chmod(0o755)
    return Installation(root, bin_dir)


@dataclass(frozen=True)
class Broken:
    """One way to break an installation.

    Args:
        name: what is wrong, in words.
        spoil: does it.
        where: part of the finding's place that must be told.
        severity: of that finding.
    """

    name: str
    spoil: Callable[[Installation], object]
    where: str
    severity: str = "error"


def _old_java(place: Installation) -> None:
    (place.bin_dir / "java").write_text("#!/bin/sh\necho 'java version \"1.8.0_392\"' >&2\n")
    place.variables["PATH"] = str(place.bin_dir)


def _unprotect(place: Installation) -> None:
    (place.bin_dir / "torchserve").write_text("#!/usr/bin/python3\nfrom ts.model_server import start\nstart()\n")


def _snapshot(place: Installation, protected: bool) -> None:
    folder = place.root / "logs" / "config"
    folder.mkdir(parents=True)
    (folder / "20240101000000000-shutdown.cfg").write_text("load_models=old.mar\n")
    if not protected:
        _unprotect(place)


def _shadow(place: Installation) -> None:
    (place.root / "checkout" / "tweetclf").mkdir(parents=True)
    place.variables["PYTHONPATH"] = str(place.root / "checkout")


def _bit(place: Installation) -> None:
    path = place.root / "model_store" / "tweets.mar"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _secret_shown(place: Installation) -> None:
    place.property("blacklist_env_vars=.*TOKEN.*")
    place.variables["AWS_SECRET_ACCESS_KEY"] = "of the machine"


def _leftover(name: str) -> Callable[[Installation], None]:
    """Leave a file that is another user's: only root could change its owner, so the user is another one."""

    def leave(place: Installation) -> None:
        folder = place.root / "tmp"
        folder.mkdir()
        (folder / name).touch()
        place.variables["TEMP"] = str(folder)
        place.user += 1

    return leave


def _clock_behind(place: Installation) -> None:
    os.utime(place.root / "model_store" / "tweets.mar", (4e9, 4e9))


def _yaml(old: str, new: str) -> Callable[[Installation], None]:
    return lambda place: place.replace("handler/model-config.yaml", old, new)


def _yaml_line(key: str, new: str) -> Callable[[Installation], None]:
    """Put another line in the place of a key's, whatever its value is."""

    def change(place: Installation) -> None:
        path = place.root / "handler/model-config.yaml"
        text, count = re.subn(rf"(?m)^{key}:.*$", new, path.read_text(encoding="utf-8"))
        assert count == 1
        path.write_text(text, encoding="utf-8")

    return change


def _lines(*lines: str) -> Callable[[Installation], None]:
    return lambda place: place.property(*lines)


APPENDED = len((ROOT / "config.properties").read_text(encoding="utf-8").splitlines()) + 1
OPEN = "inference_address=http://0.0.0.0:18080"
BROKEN = (
    Broken("a misspelt key", _lines("allowed_url=^$"), f"config.properties:{APPENDED}: allowed_url"),
    Broken("yes in place of true", _lines("disable_system_metrics=yes"), "disable_system_metrics"),
    Broken("a word in place of a number", _lines("max_request_size=6MB"), "max_request_size"),
    Broken("open to the network without a token", _lines(OPEN), "inference_address"),
    Broken("management open to the network", _lines("management_address=http://192.0.2.7:18081"), "management_address"),
    Broken("gRPC open to the network", _lines("grpc_inference_address=0.0.0.0"), "grpc_inference_address"),
    Broken(
        "open with a token, without TLS",
        _lines(OPEN, "disable_token_authorization=false"),
        "inference_address",
        "warning",
    ),
    Broken("models registered by anybody", _lines("enable_model_api=true"), "enable_model_api"),
    Broken("archives from everywhere", _lines("allowed_urls=file://.*,https?://.*"), "allowed_urls"),
    Broken("https without a certificate", _lines("inference_address=https://127.0.0.1:18443"), "certificate_file"),
    Broken(
        "two listeners on one port", _lines("grpc_inference_port=7999", "grpc_management_port=7999"), "grpc_management"
    ),
    Broken("a timeout that TorchServe ignores", _lines("default_response_timeout=10"), "default_response", "warning"),
    Broken("an envelope of KServe", _lines("service_envelope=kserve"), "service_envelope"),
    Broken("a key twice", lambda place: place.append("max_request_size=9"), "max_request_size", "warning"),
    Broken("minWorkers without maxWorkers", _yaml_line("maxWorkers", ""), "model-config.yaml: maxWorkers"),
    Broken("a delay of 0", _yaml("maxBatchDelay: 1 ", "maxBatchDelay: 0 "), "model-config.yaml: maxBatchDelay"),
    Broken("a misspelt yaml key", _yaml("batchSize:", "batchsize:"), "model-config.yaml: batchsize"),
    Broken("a yaml word in place of a number", _yaml("batchSize: 64", "batchSize: '64'"), "batchSize"),
    Broken("a misspelt setting of the handler", _yaml("batch_tokens:", "batch_token:"), "handler: batch_token"),
    Broken("a batch longer than the worker lives", _yaml("batch_seconds: 90", "batch_seconds: 120"), "batch_seconds"),
    Broken("broken yaml", _yaml_line("maxWorkers", "maxWorkers: ["), "handler/model-config.yaml"),
    Broken("old snapshots and TorchServe's own command", lambda place: _snapshot(place, False), "logs/config"),
    Broken("old snapshots", lambda place: _snapshot(place, True), "logs/config", "warning"),
    Broken("TorchServe's own command in place of the protected one", _unprotect, "torchserve"),
    Broken("Java 8", _old_java, "java"),
    Broken("a bit flipped in the archive", _bit, "model_store/tweets.mar"),
    Broken(
        "an archive of an unknown builder",
        lambda place: seal(place.root / "model_store" / "tweets.mar", place.root / "foreign"),
        "model_store/tweets.mar",
    ),
    Broken(
        "a signing key open to others", lambda place: (place.root / ".keys/signing.pem").chmod(0o644), ".keys/signing"
    ),
    Broken("a checkout on PYTHONPATH", _shadow, "PYTHONPATH"),
    Broken(
        "a configuration from a variable",
        lambda place: place.variables.update(TS_CONFIG_FILE="/etc/ts.properties"),
        "TS_CONFIG_FILE",
        "warning",
    ),
    Broken(
        "Open Inference of TorchServe's own from a variable",
        lambda place: place.variables.update(TS_OPEN_INFERENCE_PROTOCOL="oip"),
        "TS_OPEN_INFERENCE_PROTOCOL",
    ),
    Broken("Open Inference of TorchServe's own", _lines("ts_open_inference_protocol=true"), "ts_open_inference"),
    Broken(
        "the workers' code from a variable",
        lambda place: place.variables.update(TS_MODEL_SERVER_HOME=str(place.root)),
        "TS_MODEL_SERVER_HOME",
    ),
    Broken(
        "flags of the JVM from a variable",
        lambda place: place.variables.update(JAVA_TOOL_OPTIONS="-javaagent:agent.jar"),
        "JAVA_TOOL_OPTIONS",
        "warning",
    ),
    Broken("secrets that workers inherit", _secret_shown, "blacklist_env_vars", "warning"),
    Broken("an unpacked model of another user", _leftover("models"), "temporary folder", "warning"),
    Broken("a socket of another user", _leftover(".ts.sock.9000"), "temporary folder", "warning"),
    Broken("a clock that is behind", _clock_behind, "clock", "warning"),
    *(Broken(*case) for case in BROKEN_GATEWAYS),
    Broken("no quiet logging", lambda place: (place.root / "log4j2.xml").unlink(), "log4j2.xml", "warning"),
)


def make_broken(case: Broken, folder: Path) -> Installation:
    place = make_installation(folder)
    case.spoil(place)
    return place


@contextmanager
def taken_port(folder: Path) -> Iterator[tuple[Installation, int]]:
    """An installation one of whose ports belongs to somebody else."""
    place = make_installation(folder)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        place.property(f"metrics_address=http://127.0.0.1:{port}")
        yield place, port


@contextmanager
def other_torchserve(folder: Path) -> Iterator[None]:
    """A process that looks like a TorchServe started elsewhere, with this temporary folder."""
    program = [sys.executable, "-c", "import time; time.sleep(60)", "org.pytorch.serve.ModelServer"]
    process = subprocess.Popen(program, cwd=folder)
    pid_file = Path(tempfile.gettempdir(), ".model_server.pid")
    pid_file.write_text(str(process.pid))
    try:
        yield
    finally:
        pid_file.unlink()
        process.kill()
        process.wait()


def main() -> int:
    """Write what the doctor says of every broken installation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("reports/reliability/doctor.json"))
    options = parser.parse_args()
    cases = []
    with ExitStack() as stack:
        # A TorchServe of the machine must not turn up in the report.
        own = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(_temporary_folder(own))
        for number, case in enumerate(BROKEN):
            folder = Path(own, str(number))
            findings = make_broken(case, folder).examine()
            text = json.dumps([asdict(finding) for finding in findings]).replace(str(folder / "root"), ".")
            told = json.loads(text.replace(own, "/tmp"))
            hits = [one for one in told if case.where in one["where"] and one["severity"] == case.severity]
            cases.append({"case": case.name, "expected": case.severity, "found": bool(hits), "findings": told})
            told.sort(key=lambda one: one not in hits)  # the page shows the first
        healthy = make_installation(Path(own, "healthy")).examine()
    found = sum(case["found"] for case in cases)
    report = {"healthy_findings": len(healthy), "broken": len(cases), "found": found, "cases": cases}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{options.out}: {found} of {len(cases)} broken configurations found, {len(healthy)} findings on a whole one")
    return 0 if found == len(cases) and not healthy else 1


@contextmanager
def _temporary_folder(path: str) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, path
    try:
        yield
    finally:
        tempfile.tempdir = before


if __name__ == "__main__":
    sys.exit(main())
