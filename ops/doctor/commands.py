"""Find what is wrong with this installation before it serves: settings, archive, machine. Changes nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from ops.doctor.files import check_archive, check_protection, check_snapshots, file_in_archive, unpacked_bytes
from ops.doctor.findings import ERROR, Finding, error
from ops.doctor.gateway import check_gateway
from ops.doctor.gateway_files import check_gateway_files
from ops.doctor.machine import (
    check_disk,
    check_leftovers,
    check_ports,
    check_process,
    check_programs,
    check_temporary_folder,
)
from ops.doctor.model_config import check_model_config, handler_keys
from ops.doctor.properties import check_properties
from ops.doctor.variables import check_secrets, check_variables
from ops.paths import ROOT
from ops.settings.properties import read_properties
from ops.settings.server import ARCHIVE, CONFIG, SettingsError, read_settings

BIN_DIR = Path(sys.executable).parent
MODEL_CONFIG = Path("handler/model-config.yaml")
HANDLER_SETTINGS = Path("tweetclf/handler_settings.py")
EXAMPLE = """examples:
  disaster-tweets doctor            one line a finding; exit status 1 when one is an error
  disaster-tweets doctor --json
  disaster-tweets doctor --settings /etc/disaster-tweets/gateway.yaml    the gateway's own settings
"""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT, bin_dir: Path = BIN_DIR) -> int:
    """Examine and report; return the exit status (0 no error, 1 at least one; warnings change nothing)."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--settings", type=Path, help="of the gateway; or GATEWAY_SETTINGS (default: deploy/gateway/gateway.yaml)"
    )
    options = parser.parse_args(arguments)
    findings = examine(root, bin_dir, os.environ, gateway_file=options.settings)
    errors = sum(finding.severity == ERROR for finding in findings)
    counts = {"errors": errors, "warnings": len(findings) - errors}
    if options.json:
        print(json.dumps({**counts, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            print(finding.line())
        print(f"{counts['errors']} errors, {counts['warnings']} warnings")
    return 1 if errors else 0


def examine(
    root: Path,
    bin_dir: Path,
    environment: Mapping[str, str],
    with_ports: bool = True,
    gateway_file: Path | None = None,
) -> list[Finding]:
    """Return every finding, errors first.

    Args:
        root: the folder from which the server is started.
        bin_dir: programs of its environment.
        environment: the variables with which it would be started.
        with_ports: look at ports, temporary folder, user and the gateway's files too. A start of the server does
            without: it waits for its ports itself, and the gateway's files are none of its business.
        gateway_file: the gateway's settings; None takes GATEWAY_SETTINGS, or else those of the project.
    """
    if gateway_file is None and with_ports and environment.get("GATEWAY_SETTINGS"):
        gateway_file = Path(environment["GATEWAY_SETTINGS"])
    findings = [
        *_readable("settings", _settings(root, environment, gateway_file)),
        *_readable("archive", _files(root, bin_dir, environment)),
        *_readable("variables", check_variables(environment)),
        *_readable("programs", check_programs(root, bin_dir, environment)),
        *_readable("disk", check_disk(root, environment, unpacked_bytes(root))),
    ]
    if with_ports:
        findings += _readable("temporary folder", check_temporary_folder(root, environment))
        findings += _readable("temporary folder", check_leftovers(environment))
        findings += _readable("user", check_process(root / ARCHIVE))
        findings += _readable("gateway", check_gateway_files(root, gateway_file))
        findings += _readable("ports", _ports(root))
    return sorted(findings, key=lambda finding: finding.severity != ERROR)


def _readable(what: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Pass findings on; a file that this user may not read is one, and no traceback."""
    try:
        yield from findings
    except OSError as wrong:
        found = f"cannot be read ({wrong.strerror})"
        yield error(str(wrong.filename or what), found, "a file of this user", "ask as the user that runs the server")


def _ports(root: Path) -> Iterator[Finding]:
    try:
        yield from check_ports(root, read_settings(root).addresses)
    except SettingsError as wrong:
        yield error(str(CONFIG), str(wrong), "addresses that can be asked", "correct it")


def _settings(root: Path, environment: Mapping[str, str], gateway_file: Path | None) -> Iterator[Finding]:
    in_archive = file_in_archive(root, MODEL_CONFIG.name)
    source = root / MODEL_CONFIG
    own = source.read_text(encoding="utf-8", errors="replace") if source.is_file() else None
    known_file = root / HANDLER_SETTINGS
    known_text = (
        known_file.read_text(encoding="utf-8")
        if known_file.is_file()
        else file_in_archive(root, str(HANDLER_SETTINGS)) or ""
    )
    known = handler_keys(known_text)
    if own is not None:
        yield from check_model_config(own, str(MODEL_CONFIG), known)
    # The copy in the archive is the one that counts; `make archive` brings it up to date.
    if in_archive is not None and in_archive != own:
        yield from check_model_config(in_archive, f"{MODEL_CONFIG.name} in the archive", known)
    try:
        text = (root / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        yield error(str(CONFIG), f"cannot be read ({wrong})", "TorchServe's settings", "restore it from git")
        return
    yield from check_properties(text, _keys(in_archive or own))
    values = {entry.key: entry.value for entry in read_properties(text)}
    yield from check_secrets(environment, values.get("blacklist_env_vars", ""))
    try:
        settings = read_settings(root)
    except SettingsError:  # told of with the ports
        settings = None
    yield from check_gateway(root, settings, values, gateway_file)


def _files(root: Path, bin_dir: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    yield from check_archive(root)
    yield from check_protection(root, bin_dir)
    yield from check_snapshots(root, bin_dir, environment)


def _keys(text: str | None) -> frozenset[str]:
    try:
        values = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return frozenset()
    return frozenset(map(str, values)) if isinstance(values, dict) else frozenset()


if __name__ == "__main__":
    sys.exit(main())
