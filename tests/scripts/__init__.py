"""The scripts are imported by their bare names: by pytest through `pythonpath`, by `python -m tests.scripts...` so."""

import sys
from pathlib import Path

_SCRIPTS = str(Path(__file__).resolve().parents[2] / "scripts")
if _SCRIPTS not in sys.path:
    sys.path.append(_SCRIPTS)
