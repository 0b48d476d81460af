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
    archive = Path(os.environ["TRIED_ARCHIVE"]).name if "TRIED_ARCHIVE" in os.environ else None
    moment = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ")
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    tried = f"model of {archive}" if archive else "tiny random model in the real handler"
    record = {"run_at": moment, "machine": machine, "archive": tried, **facts}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
