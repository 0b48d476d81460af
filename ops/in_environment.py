"""Imported first by every command: where a package is not installed it says what to do, in place of a traceback."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
OWN_FOLDERS = ("", "scripts", "handler", "client/src")

_previous = sys.excepthook


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report a package that is not installed in one line; anything else as before."""
    if not isinstance(error, ModuleNotFoundError) or not _may_be_installed(error.name):
        _previous(kind, error, trace)
        return
    print(
        f"{sys.argv[0]}: {sys.executable} has no package {error.name}{_place(trace)}; expected the project's "
        f"environment: make setup, then .venv/bin/python {shlex.join(sys.orig_argv[1:])}",
        file=sys.stderr,
    )


def _may_be_installed(name: str | None) -> bool:
    """Tell whether a missing module is a package of somebody else's.

    No environment helps against the others: a module of ours, one of Python's own, and a module that a package which
    is there does not have.
    """
    if name is None or "." in name or name in sys.stdlib_module_names:
        return False
    places = (ROOT / folder / name for folder in OWN_FOLDERS)
    return not any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)


def _place(trace: TracebackType | None) -> str:
    """Return where the module was imported: a name that is misspelt there is found at once."""
    place = ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if ROOT in file.parents:
            place = f" (imported in {file.relative_to(ROOT)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


sys.excepthook = _explain
