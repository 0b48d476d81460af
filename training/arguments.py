"""Arguments that several commands take, so that they are called and refused alike."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from training.evaluation.answer_sources import ENGINES
from training.evaluation.metrics import RESAMPLES


def command(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return the parser of `python -m training.NAME`, whose --help ends with examples as they stand."""
    return argparse.ArgumentParser(
        prog=f"python -m training.{name}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add --model, --bundle or --server, and --engine: whom `training.evaluation.answer_sources.open_source` asks."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", type=Path, metavar="FOLDER", help="model folder (default: model)")
    source.add_argument("--bundle", type=Path, metavar="FOLDER", help="exported bundle, such as build/bundle")
    source.add_argument("--server", metavar="URL", help="running server, such as http://127.0.0.1:8080")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="of --bundle (default: %(default)s)")


def add_resamples(parser: argparse.ArgumentParser) -> None:
    """Add --resamples, at least 1."""
    parser.add_argument("--resamples", type=positive, default=RESAMPLES, help="of the bootstrap (default: %(default)s)")


def names(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what reads "a,b" or "none": the named ones, in the order of `allowed`."""
    known = list(allowed)

    def parse(value: str) -> list[str]:
        given = [] if value == "none" else [name.strip() for name in value.split(",")]
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; expected some of {', '.join(known)}")
        return [name for name in known if name in given]

    return parse


def count(value: str) -> int:
    """Return a whole number from 0 on."""
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} is no count; expected a whole number from 0 on")
    return int(value)


def positive(value: str) -> int:
    """Return a whole number from 1 on."""
    if not count(value):
        raise argparse.ArgumentTypeError("0 is too few; expected at least 1")
    return int(value)
