"""Start the gateway in front of TorchServe, stop it, give out keys."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from ops.gateway.certificate import make_certificate
from ops.gateway.config import render_config
from ops.gateway.keys import KeysError, create_key, read_keys, revoke_key
from ops.gateway.settings import DEFAULT_FILE, GatewaySettings, GatewaySettingsError, read_gateway_settings
from ops.gateway.supervisor import NGINX_PID, NGINX_STOP_S, GatewayError, Supervisor, check_settings, find_nginx
from ops.paths import ROOT
from ops.settings.locks import LockedError, is_locked, locked

RECORD = "gateway.json"
LOCK = "lock"  # in the run folder; held as long as a gateway runs with it
LOCK_WAIT_S = 1.0  # others only look at it
CONSOLE = "console.log"
START_TIMEOUT_S = 30.0
AS_ROOT = "it runs as root, and so does the part of nginx that reads the network; start it as an ordinary user"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - where to ask what listens everywhere
EXAMPLE = """examples:
  disaster-tweets gateway key create "control room" --days 90   the key is shown once
  disaster-tweets gateway key list
  disaster-tweets gateway key revoke 1a2b3c4d
  disaster-tweets gateway certificate     a self-signed certificate, to try the gateway on this machine
  disaster-tweets gateway start           in the background; run: in the foreground
  disaster-tweets gateway status          exit status 0 when the server behind it answers right
  disaster-tweets gateway reload          after a change of gateway.yaml or of the certificate
  disaster-tweets gateway reopen          after the access log was moved away: it is made again
  disaster-tweets gateway render          print the configuration for nginx
  disaster-tweets gateway stop
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = _parser().parse_args(arguments)
    file, root = options.settings.resolve(), options.root.resolve()
    try:
        settings = read_gateway_settings(file, root)
        if options.command == "key":
            return _key(settings, options)
        if options.command == "certificate":
            make_certificate(settings.certificate, settings.private_key, settings.host_names or ("localhost",))
            print(f"{settings.certificate} and its private key are made, for 30 days")
            return 0
        if options.command == "render":
            print(render_config(settings, root))
            return 0
        if options.command == "run":
            return _run(settings, file, root)
        commands = {"start": _start, "reload": _reload, "reopen": _reopen, "stop": _stop, "status": _status}
        return commands[options.command](settings, file, root)
    except (GatewayError, GatewaySettingsError, KeysError, LockedError, OSError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(os.environ.get("GATEWAY_SETTINGS", ROOT / DEFAULT_FILE))
    parser.add_argument("--settings", type=Path, default=default, help="or GATEWAY_SETTINGS (default: %(default)s)")
    parser.add_argument("--root", type=Path, default=ROOT, help="where relative paths start (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "run", "status", "reload", "reopen", "stop", "render", "certificate"):
        commands.add_parser(name)
    key = commands.add_parser("key").add_subparsers(dest="key_command", required=True)
    create = key.add_parser("create")
    create.add_argument("name", help="whose the key is")
    create.add_argument("--days", type=float, help="until it expires (default: never)")
    key.add_parser("list")
    key.add_parser("revoke").add_argument("id", help="as `key list` shows it")
    return parser


def _key(settings: GatewaySettings, options: argparse.Namespace) -> int:
    if options.key_command == "create":
        entry, key = create_key(settings.keys_file, options.name, options.days)
        print(f"{entry.id} for {entry.name}; the key is shown this once:", file=sys.stderr)
        print(key)
    elif options.key_command == "revoke":
        print(f"revoked {revoke_key(settings.keys_file, options.id).id}; it counts from the next request on")
    else:
        for entry in read_keys(settings.keys_file):
            state = f"revoked {entry.revoked}" if entry.revoked else f"expires {entry.expires or 'never'}"
            print(f"{entry.id}  {entry.name}  created {entry.created}  {state}")
    return 0


def _run(settings: GatewaySettings, file: Path, root: Path) -> int:
    if sys.platform != "linux":
        raise GatewayError("the gateway needs Linux; elsewhere run it in its container")
    if os.geteuid() == 0:
        print(f"gateway: {AS_ROOT}", file=sys.stderr, flush=True)
    find_nginx()
    folder = settings.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # sockets that want no key are in it
    try:
        with locked(folder / LOCK, LOCK_WAIT_S):
            (folder / RECORD).write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")
            try:
                return Supervisor(lambda: read_gateway_settings(file, root), root).run()
            finally:
                (folder / RECORD).unlink(missing_ok=True)
    except LockedError as error:
        raise GatewayError(f"a gateway runs in {folder} already, it is not touched ({error})") from None


def _start(settings: GatewaySettings, file: Path, root: Path) -> int:
    running = _running(settings)
    if running is not None:
        print(f"already running (pid {running.pid})")
        return 0
    if not settings.certificate.is_file():
        raise GatewayError(
            f"there is no certificate {settings.certificate}; put one there, or make one to try: "
            "disaster-tweets gateway certificate"
        )
    read_keys(settings.keys_file)
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    console = settings.run_folder / CONSOLE
    command = [sys.executable, "-m", "ops.gateway.commands", "--settings", str(file), "--root", str(root), "run"]
    console.write_bytes(b"")
    with console.open("ab") as output:
        supervisor = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    process = psutil.Process(supervisor.pid)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _listens(settings, process):
        if supervisor.poll() is not None or time.monotonic() > deadline:
            _end(process)
            lines = console.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise GatewayError(f"it did not start: {' '.join(lines[-3:]) or 'no line in ' + str(console)}")
        time.sleep(0.05)
    if os.geteuid() == 0:
        print(f"gateway: {AS_ROOT}", file=sys.stderr)
    host, port = settings.rest_address.host, settings.rest_address.port
    print(f"gateway on https://{host}:{port} (pid {process.pid}); stop: disaster-tweets gateway stop")
    return 0


def _listens(settings: GatewaySettings, supervisor: psutil.Process) -> bool:
    """Tell whether the nginx of this supervisor has its ports; any other program may answer on them."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        pid = int((settings.run_folder / NGINX_PID).read_text(encoding="ascii"))
        return pid in {child.pid for child in supervisor.children()}
    return False


def _get(settings: GatewaySettings, path: str) -> tuple[int, str]:
    """Ask this machine's own gateway; whether clients trust its certificate is not the question here."""
    host = EVERYWHERE.get(settings.rest_address.host, settings.rest_address.host)
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host.strip("[]"), settings.rest_address.port, timeout=10.0, context=tls)
    headers = {"Host": settings.host_names[0]} if settings.host_names else {}
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")


def _status(settings: GatewaySettings, file: Path, root: Path) -> int:
    try:
        status, body = _get(settings, "/ready")
    except (OSError, http.client.HTTPException) as error:
        raise GatewayError(f"nobody answers ({error}); start it: disaster-tweets gateway start") from error
    print(body)
    return 0 if status == http.client.OK else 1


def _reload(settings: GatewaySettings, file: Path, root: Path) -> int:
    running = _running(settings)
    if running is None:
        raise GatewayError("no gateway runs; start it: disaster-tweets gateway start")
    check_settings(settings, root)
    running.send_signal(signal.SIGHUP)
    print(f"told {running.pid} to read its settings again; requests that run are answered by the old ones")
    return 0


def _reopen(settings: GatewaySettings, file: Path, root: Path) -> int:
    running = _running(settings)
    if running is None:
        print("no gateway runs")
        return 0
    running.send_signal(signal.SIGUSR1)
    print(f"told {running.pid} to open its log files again")
    return 0


def _stop(settings: GatewaySettings, file: Path, root: Path) -> int:
    running = _running(settings)
    if running is None:
        print("no gateway runs")
        return 0
    _end(running)
    print(f"stopped {running.pid}")
    return 0


def _running(settings: GatewaySettings) -> psutil.Process | None:
    """Return the supervisor that holds this run folder."""
    if not is_locked(settings.run_folder / LOCK):
        return None
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, psutil.Error):
        return psutil.Process(json.loads((settings.run_folder / RECORD).read_text(encoding="utf-8"))["pid"])
    return None


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(NGINX_STOP_S + 10)
            return
        process.kill()  # its children end with it


if __name__ == "__main__":
    sys.exit(main())
