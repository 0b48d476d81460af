"""Where the checkout is, whose settings, archive and keys the commands use."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
