"""Measure what a training step costs: `python -m training.experiments.benchmark_steps --layers 3`.

CPU seconds of one thread, ways in turns, medians of the turns: other work changes them little. Inputs are
random tokens; no data is needed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.learning.weight_average import TrainedWeightAveraging, share_frozen
from training.model.base_encoder import BaseEncoderError, resolve_base_encoder
from training.model.model import AdapterError, LoraSettings, TweetClassifier, add_lora, load_base

DECAY = 0.995
WAYS = ("32-true", "bf16-mixed", "32-true, no average", "32-true, average of all weights")


def measure(
    make: Callable[[], TweetClassifier], tokens: int, batch_size: int, steps: int, turns: int
) -> dict[str, float]:
    """Return the median CPU seconds of a step, for each of `WAYS`; the first two average what is trained.

    Args:
        make: returns a classifier with LoRA.
        tokens: of each text.
        batch_size: texts a step.
        steps: in a turn, after one that is not counted.
        turns: repetitions, ways interleaved.
    """
    runs = {way: _Run(make(), way, tokens, batch_size) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    with tqdm(total=turns * len(WAYS), desc="steps", unit="turn", disable=None) as bar:
        for _ in range(turns):
            for way, run in runs.items():
                run.step()
                before = time.process_time()
                for _ in range(steps):
                    run.step()
                times[way].append((time.process_time() - before) / steps)
                bar.update()
    return {way: statistics.median(seconds) for way, seconds in times.items()}


class _Run:
    """A classifier in training, as `ClassifierModule` and `fit` do it, without the trainer around."""

    def __init__(self, classifier: TweetClassifier, way: str, tokens: int, batch_size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        vocabulary = classifier.encoder.config.vocab_size
        self._input_ids = torch.randint(5, vocabulary, (batch_size, tokens), generator=generator)
        self._targets = torch.randint(0, 2, (batch_size,), generator=generator)
        self._classifier = classifier.train()
        self._trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=1e-3)
        self._bf16 = way.startswith("bf16")
        self._average = _average(classifier, way)

    def step(self) -> None:
        with torch.autocast("cpu", torch.bfloat16) if self._bf16 else nullcontext():
            logits = self._classifier(self._input_ids, torch.ones_like(self._input_ids))
            loss = nn.functional.cross_entropy(logits, self._targets, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._classifier)


def _average(classifier: TweetClassifier, way: str) -> AveragedModel | None:
    if way.endswith("no average"):
        return None
    if way.endswith("all weights"):
        return AveragedModel(classifier, use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    average = AveragedModel(classifier, use_buffers=False, **TrainedWeightAveraging(DECAY)._kwargs)
    share_frozen(average.module, classifier)
    return average


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.benchmark_steps",
        description="Measure what a training step costs, in CPU time of one thread.",
        epilog="example: python -m training.experiments.benchmark_steps --layers 6 --attention sdpa",
    )
    parser.add_argument("--layers", type=int, default=3, help="of the base encoder (default: 3)")
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager")
    parser.add_argument("--tokens", type=int, default=24, help="of each text (default: 24, about a tweet's)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="in a turn (default: 4)")
    parser.add_argument("--turns", type=int, default=7, help="repetitions; medians are printed (default: 7)")
    options = parser.parse_args(arguments)
    for name in ("layers", "tokens", "batch_size", "steps", "turns"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected at least 1")
    torch.set_num_threads(1)

    def make() -> TweetClassifier:
        encoder = load_base(resolve_base_encoder(), options.layers, options.attention, 0.1)
        return add_lora(TweetClassifier(encoder, 0.1), LoraSettings(16, 16, 0.0))

    try:
        found = measure(make, options.tokens, options.batch_size, options.steps, options.turns)
    except (AdapterError, BaseEncoderError) as error:
        print(f"benchmark refused: {error}", file=sys.stderr)
        return 1
    first = found[WAYS[0]]
    print(f"{options.layers} layers, {options.attention}, {options.batch_size} x {options.tokens} tokens, LoRA rank 16")
    print("| step | CPU ms | ratio | tweets a CPU-second |\n| --- | --- | --- | --- |")
    for way, seconds in found.items():
        print(f"| {way} | {seconds * 1e3:.1f} | {seconds / first:.2f} | {options.batch_size / seconds:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
