"""Where a run of fuzz, chaos or soak leaves what it found: one JSON file a subject, for docs/reliability.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

RECORD_DIR_VARIABLE = "RELIABILITY_DIR"


def write_record(name: str, facts: Mapping[str, Any]) -> None:
    """Write a run's figures to `$RELIABILITY_DIR/NAME.json`; without the variable nothing is kept.

    Args:
        name: of the file, without its suffix.
        facts: JSON values; no text of any request.
    """
    folder = os.environ.get(RECORD_DIR_VARIABLE)
    if not folder:
        return
    moment = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ")
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run_at": moment, "machine": machine, **facts}, indent=2) + "\n", encoding="utf-8")
