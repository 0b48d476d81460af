"""Build the images and prove that they serve: with a container engine where one runs, else with a stand-in."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from ops.images import engine as image_engine
from ops.images.build import Builder, BuildError, Image
from ops.images.engine import COMPOSE, INSPECTION, TARGETS, TWEET, ImageError, judge_inside, make_secrets
from ops.images.file import read_dockerfile
from ops.images.run import STOP_S, Container, network, running
from ops.paths import ROOT

NEEDED = ("debootstrap", "unshare", "nsenter", "setpriv", "mount", "ip")
EXAMPLE = """examples:
  disaster-tweets image build      docker or podman where one answers, else the stand-in
  disaster-tweets image check      build, run both images, ask a tweet through TLS with a key (else as root)
  disaster-tweets image build --signing-key ~/signing.pem
"""
# Runs in the network of the containers, where nothing of this machine is reached.
ASK = """
import json, ssl, sys, urllib.request
url, certificate, key, body = sys.argv[1:]
headers = {"Authorization": "Bearer " + key, "Content-Type": "text/plain"}
request = urllib.request.Request(url, body.encode() or None, headers)
tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificate))
past_proxies = urllib.request.build_opener(tls, urllib.request.ProxyHandler({}))
with past_proxies.open(request, timeout=120) as answer:
    print(json.dumps([answer.status, json.load(answer)]))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("build", "check"))
    parser.add_argument(
        "--store", type=Path, default=ROOT / "build/image", help="layers of the stand-in (default: %(default)s)"
    )
    parser.add_argument(
        "--share", type=Path, action="append", default=[], help="folder that RUN sees, such as a package mirror"
    )
    parser.add_argument("--certificates", type=Path, help="authorities of your package registry, for RUN")
    parser.add_argument(
        "--signing-key", type=Path, help="private key that signs the archive (default: one made for this build)"
    )
    options = parser.parse_args(arguments)
    try:
        if options.signing_key is not None and not options.signing_key.is_file():
            raise ImageError(f"{options.signing_key} is no file; expected the private key that signs the archive")
        engine = image_engine.find_engine()
        if engine is not None:
            names = image_engine.build(engine, ROOT, os.environ, options.signing_key)
            if options.command == "check":
                print(json.dumps(image_engine.check(engine, ROOT, os.environ), indent=1))
            print(f"built {' and '.join(names)}; run them: docker compose --file {COMPOSE} up --detach --wait")
            return 0
        _require_standin()
        if options.signing_key is not None:
            raise ImageError("the stand-in hands no secret over; --signing-key needs docker or podman")
        variables = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "TORCH_INDEX"))}
        builder = Builder(ROOT, options.store, options.share, variables, options.certificates)
        images = {target: builder.build(read_dockerfile(ROOT / "Dockerfile"), target) for target in TARGETS}
        facts = check(images) if options.command == "check" else {name: image.key for name, image in images.items()}
        print(json.dumps(facts, indent=1))
    except (BuildError, ImageError, OSError, subprocess.SubprocessError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def check(images: dict[str, Image]) -> dict[str, object]:
    """Run both images as compose.yaml says and look at what comes out.

    Returns:
        What was found, for people.

    Raises:
        ImageError: something is not as it should be.
    """
    services = yaml.safe_load((ROOT / COMPOSE).read_text(encoding="utf-8"))["services"]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-")))
        key = make_secrets(folder / "secrets")
        network_pid = stack.enter_context(network())
        began = time.monotonic()
        containers = {}
        for name in TARGETS:
            own = folder / name
            own.mkdir()
            tmpfs = dict(one.split(":", 1) for one in services[name]["tmpfs"])
            volumes = {"/run/gateway": folder / "secrets"} if name == "gateway" else {}
            containers[name] = stack.enter_context(running(images[name], network_pid, own, tmpfs, volumes))
        early = containers["server"].is_healthy() or containers["gateway"].is_healthy()
        _wait_healthy(containers)
        ready_s = round(time.monotonic() - began, 1)
        answer = _ask(network_pid, folder / "secrets", "/predictions/tweets", key, TWEET)
        if answer[0] != 200 or answer[1]["label"] != "disaster":
            raise ImageError(f"the tweet was answered {answer}; expected 200 and disaster")
        facts: dict[str, object] = {"ready_after_s": ready_s, "healthy_before_loaded": early, "answer": answer[1]}
        for name, container in containers.items():
            facts[name] = judge_inside(container.execute(["sh", "-c", INSPECTION]).stdout)
        facts["listening"] = _listening(network_pid)
        facts["server_back_after_kill_s"] = _kill_server(containers["server"])
        facts["server_stopped_after_s"] = _stop_server(containers["server"])
        facts["gateway_healthy_without_server"] = containers["gateway"].is_healthy()
    if early or facts["gateway_healthy_without_server"]:
        raise ImageError(f"a health check lied: {facts}")
    return facts


def _wait_healthy(containers: dict[str, Container]) -> None:
    deadline = time.monotonic() + 600
    while not all(container.is_healthy() for container in containers.values()):
        for name, container in containers.items():
            if container.launcher.poll() is not None or time.monotonic() > deadline:
                log = container.log.read_text(encoding="utf-8", errors="replace")
                raise ImageError(f"{name} does not become healthy; the end of its log: {log[-1500:]}")
        time.sleep(1)


def _ask(network_pid: int, secrets: Path, path: str, key: str, body: str) -> tuple[int, dict[str, object]]:
    command = [
        "nsenter",
        "--target",
        str(network_pid),
        "--net",
        sys.executable,
        "-c",
        ASK,
        f"https://localhost:8443{path}",
    ]
    command += [str(secrets / "certificate.pem"), key, body]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=180, check=False)
    if result.returncode:
        raise ImageError(f"no answer through the gateway: {result.stderr.strip()[-400:]}")
    status, answer = json.loads(result.stdout)
    return status, answer


def _listening(network_pid: int) -> list[str]:
    command = ["nsenter", "--target", str(network_pid), "--net", "ss", "-Hltn"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=True)
    found = sorted(line.split()[3].replace("[::ffff:127.0.0.1]", "127.0.0.1") for line in result.stdout.splitlines())
    if not all(one.startswith("127.0.0.1:") or one in ("0.0.0.0:8443", "0.0.0.0:8444") for one in found):
        raise ImageError(
            f"listening at {found}; expected TorchServe on 127.0.0.1 and the gateway on 8443 and 8444 only"
        )
    return found


def _kill_server(container: Container) -> float:
    """Kill Java inside; the supervisor must start it again in place. Return the seconds until it answers right."""
    began = time.monotonic()
    container.execute(
        ["python", "-c", "import psutil; [p.kill() for p in psutil.process_iter() if p.name() == 'java']"]
    )
    if container.is_healthy():
        raise ImageError("the server answers although its Java was killed; expected nobody to answer for a moment")
    _wait_healthy({"server": container})
    return round(time.monotonic() - began, 1)


def _stop_server(container: Container) -> float:
    """Stop the container as an engine does; return the seconds until it had ended by itself."""
    began = time.monotonic()
    status = container.stop()
    if status != 0:
        raise ImageError(f"the stopped server ended with {status}; expected 0 within {STOP_S:.0f} s")
    return round(time.monotonic() - began, 1)


def _require_standin() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        raise ImageError(
            f"no container engine answers, and the stand-in needs root and {', '.join(NEEDED)} (missing: {missing}); "
            "install docker or podman, or: apt-get install debootstrap util-linux iproute2"
        )


if __name__ == "__main__":
    sys.exit(main())
