"""Read out-of-fold scores: id -> p(disaster) by models that have not read the row."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from training.errors import DatasetError
from tweetclf.bundle import sha256_of

FOLD_FILES = "fold-*-seed-*.json"
_FOLD_FILE = re.compile(r"fold-\d+-seed-\d+\.json")


def read_scores(path: Path) -> dict[str, float]:
    """Return id -> p(disaster) of a file, or of a folder of teachers' folds joined, the mean over their seeds.

    Args:
        path: JSON id -> p, npz with arrays `ids` and `p`, or a folder with files such as fold-0-seed-0.json, as
            training keeps them under `data_dir/teachers`.

    Raises:
        DatasetError: it is missing, has another form, a value is no probability, or two folds of a seed score a row.
    """
    if not path.is_dir():
        return _read_file(path)
    by_seed: dict[str, dict[str, float]] = {}
    for file in fold_files(path):
        seed = by_seed.setdefault(file.stem.rpartition("-")[2], {})
        given = _read_file(file)
        if doubled := sorted(seed.keys() & given.keys()):
            raise DatasetError(
                f"{file} scores {len(doubled)} rows that another fold of its seed scores too, first {doubled[0]}; "
                "expected each row in one fold; is this the folder of one training's teachers?"
            )
        seed |= given
    every = sorted({name for scores in by_seed.values() for name in scores})
    if lacking := [seed for seed, scores in by_seed.items() if len(scores) < len(every)]:
        raise DatasetError(
            f"{path}: seed {lacking[0]} scores {len(by_seed[lacking[0]])} of {len(every)} rows; expected every seed to "
            "score the same rows; a training that was killed goes on when it is started again"
        )
    return {name: float(np.mean([scores[name] for scores in by_seed.values()])) for name in every}


def fold_files(folder: Path) -> list[Path]:
    """Return a folder's fold files.

    Raises:
        DatasetError: there is none; names folders below that have some.
    """
    found = sorted(file for file in folder.glob(FOLD_FILES) if _FOLD_FILE.fullmatch(file.name))
    if not found:
        below = sorted({file.parent.name for file in folder.glob(f"*/{FOLD_FILES}")})
        hint = f"one of its folders {below}" if below else "a folder below data_dir/teachers"
        raise DatasetError(f"{folder} holds no {FOLD_FILES}; expected out-of-fold scores of teachers: give {hint}")
    return found


def origin_of(path: Path) -> str:
    """Return what identifies a file or folder of scores: its name and a sha256 of its content."""
    if not path.is_dir():
        return f"{path.name}, sha256 {sha256_of(path)}"
    files = fold_files(path)
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return f"{path.name}, {len(files)} folds, sha256 of their hashes {hashlib.sha256(lines.encode()).hexdigest()}"


def _read_file(path: Path) -> dict[str, float]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as content:
                found = dict(zip(content["ids"].astype(str).tolist(), content["p"].astype(float).tolist(), strict=True))
        else:
            found = {str(name): float(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} has no scores ({type(error).__name__}: {error}); expected JSON id -> p(disaster), npz with ids "
            "and p, or a folder of teachers' folds"
        ) from error
    if wrong := [name for name, value in found.items() if not 0 <= value <= 1]:
        raise DatasetError(f"{path}: the score of {wrong[0]} is {found[wrong[0]]}; expected a probability")
    return found
