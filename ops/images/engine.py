"""Build the images with docker, podman or buildah, and prove with one of the first two that they serve."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.gateway.certificate import make_certificate
from ops.gateway.keys import create_key

COMPOSE = Path("deploy/compose/compose.yaml")
ENGINES = ("docker", "podman", "buildah")
RUNNERS = ENGINES[:2]  # buildah runs no composition
BASE = "debian:bookworm-slim"
SUITE = "bookworm"
TARGETS = ("server", "gateway")
PROJECT = "disaster-tweets-check"
TWEET = "Dam breaks above the town"
ANSWER_TIMEOUT_S = 20
BUILD_TIMEOUT_S = 7200
START_TIMEOUT_S = 600
STEP_TIMEOUT_S = 180
# Looks from inside a container: who am I, what may I do, what tools would an intruder find?
INSPECTION = (
    'echo "uid=$(id -u)"; grep -E "^(CapEff|CapBnd|NoNewPrivs):" /proc/self/status | tr -d "\\t"; '
    "touch /srv/x /usr/x /etc/x 2>/dev/null && echo writable; "
    "for tool in gcc cc g++ make ld pip pip3 curl wget; do command -v $tool; done; true"
)


class ImageError(RuntimeError):
    """An image does not do what it should; the message says what."""


def find_engine(names: Sequence[str] = ENGINES) -> str:
    """Return the first program that is here and whose engine answers.

    Raises:
        ImageError: none does.
    """
    for name in names:
        program = shutil.which(name)
        if program is None:
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            result = subprocess.run([program, "info"], capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False)
            if result.returncode == 0:
                return program
    raise ImageError(
        f"no container engine answers; expected one of {', '.join(names)} (Debian: apt-get install podman)"
    )


def make_base(engine: str) -> None:
    """Make the image that the Dockerfile starts from, where no registry can be reached: Debian's own packages.

    Raises:
        ImageError: mmdebstrap is missing.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageError("mmdebstrap is missing; expected it on the path (Debian: apt-get install mmdebstrap)")
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        archive = Path(folder, "base.tar")
        subprocess.run([program, "--variant=minbase", SUITE, str(archive)], timeout=BUILD_TIMEOUT_S, check=True)
        if Path(engine).name != "buildah":
            subprocess.run([engine, "import", str(archive), BASE], timeout=STEP_TIMEOUT_S, check=True)
            return
        container = _run([engine, "from", "scratch"], os.environ, STEP_TIMEOUT_S).strip()
        for command in (["add", container, str(archive), "/"], ["commit", "--rm", container, BASE]):
            _run([engine, *command], os.environ, STEP_TIMEOUT_S)


def build(engine: str, root: Path, environment: Mapping[str, str], signing_key: Path | None) -> list[str]:
    """Build both images; return their names with the version as tag. They get the tag `latest` too.

    Args:
        engine: one of ENGINES.
        root: the checkout.
        environment: TORCH_INDEX, the package index that torch is taken from, is read from it.
        signing_key: the archive's; None makes one for this build.
    """
    version, revision = _version(root)
    arguments = ["--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={revision}"]
    if environment.get("TORCH_INDEX"):
        arguments += ["--build-arg", f"TORCH_INDEX={environment['TORCH_INDEX']}"]
    if signing_key is not None:
        arguments += ["--secret", f"id=signing_key,src={signing_key.resolve()}"]
    names = []
    for target in TARGETS:
        names.append(f"disaster-tweets-{target}:{version}")
        tags = ["--tag", names[-1], "--tag", f"disaster-tweets-{target}:latest"]
        command = [engine, "build", "--target", target, *tags, *arguments, str(root)]
        subprocess.run(command, timeout=BUILD_TIMEOUT_S, check=True)
    return names


def check(engine: str, root: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Start the newest images as compose.yaml says, ask a tweet through TLS with a key, and look inside.

    Raises:
        ImageError: something is not as it should be.
    """
    compose = [engine, "compose", "--project-name", PROJECT, "--file", str(root / COMPOSE)]
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        secrets = Path(folder, "secrets")
        key = make_secrets(secrets)
        rest, grpc = _free_port(), _free_port()
        variables = {"SECRETS": str(secrets), "REST_PORT": f"127.0.0.1:{rest}", "GRPC_PORT": f"127.0.0.1:{grpc}"}
        variables = {**environment, **variables, "VERSION": "latest"}
        with _up(compose, variables):
            answer = _ask(rest, secrets / "certificate.pem", key)
            facts = {"answer": answer}
            for name in TARGETS:
                command = [*compose, "exec", "-T", name, "sh", "-c", INSPECTION]
                facts[name] = judge_inside(_run(command, variables, STEP_TIMEOUT_S))
    return facts


def make_secrets(folder: Path) -> str:
    """Make a certificate and an API key that the gateway's container may read; return the key."""
    folder.mkdir()
    make_certificate(folder / "certificate.pem", folder / "private_key.pem", ["localhost", "127.0.0.1"])
    _, key = create_key(folder / "keys.json", "image check")
    for path in (folder, *folder.iterdir()):
        if os.geteuid() == 0:
            os.chown(path, 10002, 10002)
        else:  # only root gives files away; these protect a server of a minute, in a folder of this user's own
            path.chmod(0o755 if path.is_dir() else 0o644)
            folder.parent.chmod(0o711)
    return key


def judge_inside(said: str) -> dict[str, str]:
    """Return what `INSPECTION` printed, as names and values.

    Raises:
        ImageError: the container has more rights or tools than it should.
    """
    lines = said.split()
    found = dict(line.replace("=", ":", 1).split(":", 1) for line in lines if ":" in line or "=" in line)
    found["tools"] = " ".join(line for line in lines if line.startswith("/"))
    try:
        may_more = int(found["CapEff"], 16) or int(found["CapBnd"], 16)
        wrong = found["uid"] == "0" or may_more or found["NoNewPrivs"] != "1" or found["tools"]
    except (KeyError, ValueError):
        wrong = True
    if wrong or "writable" in lines:
        raise ImageError(f"a container has more than it should: {lines}")
    return found


@contextlib.contextmanager
def _up(compose: list[str], variables: Mapping[str, str]) -> Iterator[None]:
    up = [*compose, "up", "--no-build", "--detach", "--wait", "--wait-timeout", str(START_TIMEOUT_S)]
    try:
        _run(up, variables, START_TIMEOUT_S + STEP_TIMEOUT_S)
        yield
    except ImageError as error:
        log = subprocess.run(
            [*compose, "logs", "--tail", "30"], capture_output=True, env=dict(variables), timeout=60, check=False
        )
        raise ImageError(f"{error}\n{log.stdout.decode('utf-8', 'replace')[-3000:]}") from None
    finally:
        subprocess.run([*compose, "down"], env=dict(variables), timeout=STEP_TIMEOUT_S, check=False)


def _ask(port: int, certificate: Path, key: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/plain"}
    request = urllib.request.Request(f"https://localhost:{port}/predictions/tweets", TWEET.encode(), headers)
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(certificate)))
    past_proxies = urllib.request.build_opener(tls, urllib.request.ProxyHandler({}))
    try:
        with past_proxies.open(request, timeout=STEP_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
    except (OSError, ValueError) as error:
        raise ImageError(f"no answer through the gateway: {error}") from None
    if answer.get("label") != "disaster":
        raise ImageError(f"the tweet was answered {answer}; expected disaster")
    return answer


def _run(command: list[str], variables: Mapping[str, str], timeout_s: float) -> str:
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=dict(variables),
        timeout=timeout_s,
        check=False,
    )
    if result.returncode != 0:
        raise ImageError(f"{' '.join(command)} ended with {result.returncode}: {result.stderr.strip()[-1500:]}")
    return result.stdout


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _version(root: Path) -> tuple[str, str]:
    """Return the project's version and the revision of the checkout, `unknown` where git does not tell."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "([\w.+-]+)"', text, re.MULTILINE)
    if found is None:
        raise ImageError('pyproject.toml has no line version = "..."; expected one; restore it')
    revision = ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        revision = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=ANSWER_TIMEOUT_S, check=False
        ).stdout.strip()
    return found[1].replace("+", "-"), revision or "unknown"
