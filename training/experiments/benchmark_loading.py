"""Measure how batches are best made.

`python -m training.experiments.benchmark_loading --data data/processed --rows 4000`

Times are CPU seconds of this process and its children, so that other work on the machine changes them little; ways are
taken in turns, and medians of the turns are printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from training.data.batches import Batch, BucketedBatches
from training.data.datamodule import read_table
from training.data.encoding import TweetEncoder, pad
from training.errors import TrainingError
from training.model.base_encoder import TOKENIZER_FILE, BaseEncoderError, resolve_base_encoder


@dataclass(frozen=True)
class Measured:
    """One way of making the batches of some epochs.

    Args:
        way: in words.
        cpu_s: median of the turns, for all epochs.
        tweets_per_cpu_s: rows times epochs over that.
        padding_share: of all token places, those that hold padding, in [0, 1).
    """

    way: str
    cpu_s: float
    tweets_per_cpu_s: float
    padding_share: float


class _Rows(Dataset[int]):
    """Row numbers; a row is encoded when its batch is made."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> int:
        return row


class _Collate:
    """Make a batch of row numbers, in whichever process; encodes only rows that are still texts."""

    def __init__(self, rows: Sequence[str] | Sequence[list[int]], encoder: TweetEncoder | None) -> None:
        self._rows = rows
        self._encoder = encoder

    def __call__(self, numbers: list[int]) -> Batch:
        chosen = [self._rows[number] for number in numbers]
        input_ids, attention_mask = pad(self._encoder.encode(chosen) if self._encoder else chosen)  # type: ignore[arg-type]
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def measure(
    texts: Sequence[str], encoder: TweetEncoder, batch_size: int, epochs: int, turns: int, workers: Sequence[int]
) -> list[Measured]:
    """Return what each way costs, and how much of its batches is padding.

    Args:
        texts: normalised.
        encoder: as training has it.
        batch_size: rows.
        epochs: over the same texts, in each turn.
        turns: repetitions, ways interleaved.
        workers: processes of a DataLoader, each measured with encoding in every epoch.
    """
    ways = _ways(texts, encoder, batch_size, epochs, workers)
    times: dict[str, list[float]] = {way: [] for way in ways}
    padding: dict[str, float] = {}
    with tqdm(total=turns * len(ways), desc="loading", unit="run", disable=None) as bar:
        for _ in range(turns):
            for way, make in ways.items():
                before = _cpu_seconds()
                real = places = 0
                for batch in make():
                    real += int(batch["attention_mask"].sum())
                    places += batch["attention_mask"].numel()
                times[way].append(_cpu_seconds() - before)
                padding[way] = 1 - real / places
                bar.update()
    found = []
    for way, seconds in times.items():
        median = statistics.median(seconds)
        found.append(Measured(way, round(median, 3), round(len(texts) * epochs / median), round(padding[way], 4)))
    return found


def _ways(
    texts: Sequence[str], encoder: TweetEncoder, batch_size: int, epochs: int, workers: Sequence[int]
) -> dict[str, Callable[[], Iterable[Batch]]]:
    encoded = encoder.encode(texts)
    targets = [0] * len(texts)

    def bucketed_once() -> Iterable[Batch]:
        batches = BucketedBatches(encoder.encode(texts), targets, batch_size)
        for epoch in range(epochs):
            for rows in batches.order(epoch):
                input_ids, attention_mask = pad([encoded[row] for row in rows])
                yield {"input_ids": input_ids, "attention_mask": attention_mask}

    def loaded(
        num_workers: int, rows: Callable[[], Sequence[str] | Sequence[list[int]]], lazy: bool
    ) -> Iterable[Batch]:
        generator = torch.Generator().manual_seed(0)
        loader = DataLoader(
            _Rows(len(texts)),
            batch_size,
            shuffle=True,
            num_workers=num_workers,
            collate_fn=_Collate(rows(), encoder if lazy else None),
            generator=generator,
            persistent_workers=num_workers > 0,
        )
        for _ in range(epochs):
            yield from loader

    ways: dict[str, Callable[[], Iterable[Batch]]] = {
        "encoded once, bucketed by length (as training does)": bucketed_once,
        "encoded once, shuffled": lambda: loaded(0, lambda: encoder.encode(texts), lazy=False),
    }
    for count in workers:
        ways[f"encoded in each epoch, shuffled, {count} workers"] = partial(loaded, count, lambda: texts, lazy=True)
    return ways


def _cpu_seconds() -> float:
    # Of children: those that have ended, so a way's workers must have ended with its last batch.
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def table(found: Sequence[Measured]) -> str:
    """Return one line a way; CPU time as a ratio to the first."""
    first = found[0].cpu_s
    lines = ["| way | CPU s | ratio | tweets a CPU-second | padding |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {one.way} | {one.cpu_s:.3f} | {one.cpu_s / first:.2f} | {one.tweets_per_cpu_s:,.0f} | "
        f"{one.padding_share:.1%} |"
        for one in found
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.benchmark_loading",
        description="Measure how batches are best made, in CPU time.",
        epilog="example: python -m training.experiments.benchmark_loading --rows 4000 --workers 0 1 2",
    )
    parser.add_argument("--data", type=Path, default=Path("data/processed"), help="folder of the prepared table")
    parser.add_argument("--rows", type=int, default=4000, help="tweets, drawn by seed 0 (default: 4000)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3, help="repetitions; medians are printed (default: 3)")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="of a DataLoader (default: 0 1 2)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args(arguments)
    for name in ("rows", "batch_size", "max_tokens", "epochs", "turns"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected at least 1")
    if any(count < 0 for count in options.workers):
        parser.error(f"--workers is {options.workers}; expected 0 or more each")
    torch.set_num_threads(1)
    try:
        texts = read_table(options.data)["normalised"]
        encoder = TweetEncoder(resolve_base_encoder() / TOKENIZER_FILE, options.max_tokens)
    except (TrainingError, BaseEncoderError) as error:
        print(f"benchmark refused: {error}", file=sys.stderr)
        return 1
    positions = np.random.default_rng(0).permutation(len(texts))[: options.rows]
    chosen = texts.iloc[positions].tolist()
    found = measure(chosen, encoder, options.batch_size, options.epochs, options.turns, options.workers)
    print(f"{len(chosen)} tweets, {options.epochs} epochs, batches of {options.batch_size}, {options.turns} turns")
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
