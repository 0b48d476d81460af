"""Imported first by every command: without the project's packages it says what to do, in place of a traceback."""

from __future__ import annotations

import shlex
import sys
from types import TracebackType

_previous = sys.excepthook


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report a package that is not installed in one line; anything else as before."""
    if not isinstance(error, ModuleNotFoundError):
        _previous(kind, error, trace)
        return
    print(
        f"{sys.argv[0]}: {sys.executable} has no package {error.name}; expected the project's environment: make setup, "
        f"then .venv/bin/python {shlex.join(sys.orig_argv[1:])}",
        file=sys.stderr,
    )


sys.excepthook = _explain
