"""Measure the engines on one core, in a process of its own over an unpacked archive.

The code of the classifier is the archive's, so that what is measured is what would be served. All engines are loaded
first and measured in turn, round after round, so that a change of the machine's clock meets all of them.
Settings come as JSON on standard input, the result goes as JSON to standard output.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmark.engines.baseline_handler import MAX_LENGTH, BaselineHandler
from benchmark.engines.limits import Shape, measure_cuda_limit, measure_limit, supported_precisions
from benchmark.figures import latencies, rounded, spread

SINGLES_WALL_S = 20.0  # clock time for one engine's tweets asked for alone
QUEUE = 64  # tweets that wait when an engine is called
GPU_QUEUE = 8_192
WALL_FACTOR = 4  # clock time that a measurement may take, in multiples of its processor time
# Name of the engine, its `precision`, and the limit that it is compared with.
CPU_ENGINES = (("torchscript", "float32", "fp32"), ("torchscript", "bfloat16", "bf16"), ("openvino", "auto", "int8"))
GPU_ENGINES = (("torchscript", "float16", "fp16"),)


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Args:
        archive: folder of the unpacked .mar.
        merged: folder with the same weights for transformers.
        tweets_file: JSON list of texts.
        handler: section `handler` of the archive's model-config.yaml.
        device: `cpu` or `cuda`.
        rounds: of all engines.
        seconds: processor time of one engine in one round.
        singles: tweets asked for alone.
    """

    archive: str
    merged: str
    tweets_file: str
    handler: dict[str, Any]
    device: str = "cpu"
    rounds: int = 3
    seconds: float = 1.5
    singles: int = 200


@dataclass
class Row:
    """One engine.

    Args:
        name: for people.
        precision: of the limit that it is compared with.
        queue: tweets given at once.
        answer: takes texts.
        rates: tweets a second of processor time, one a round.
        walls: the same of the clock.
        flop_rates: GFLOP/s of real tokens, one a round; of processor time on a CPU, of the clock on a GPU.
    """

    name: str
    precision: str
    queue: int
    answer: Callable[[Sequence[str]], object]
    rates: list[float] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    flop_rates: list[float] = field(default_factory=list)


class Measurement:
    """The tweets with what they cost, and the two ways to measure an engine.

    Args:
        texts: in order of arrival.
        tokens: real tokens of each, as the served model reads them.
        shape: of the model.
        cuda: whether a GPU is measured, whose time is not the process's.
    """

    def __init__(self, texts: Sequence[str], tokens: Sequence[int], shape: Shape, cuda: bool) -> None:
        self._texts = texts
        self._cuda = cuda
        self._flop = [shape.flop(count) for count in tokens]
        self.mean_flop = sum(self._flop) / len(self._flop)
        self.mean_tokens = sum(tokens) / len(tokens)

    def rate(self, row: Row, seconds: float, first: int) -> None:
        """Give an engine window after window, from text `first` on, and note its rates."""
        done, flop, place = 0, 0.0, first
        wall, cpu = time.perf_counter(), time.process_time()
        # A machine with other work must not make this endless.
        while time.process_time() - cpu < seconds and time.perf_counter() - wall < WALL_FACTOR * seconds:
            numbers = [(place + offset) % len(self._texts) for offset in range(row.queue)]
            row.answer([self._texts[number] for number in numbers])
            done += row.queue
            flop += sum(self._flop[number] for number in numbers)
            place += row.queue
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        row.rates.append(done / cpu)
        row.walls.append(done / wall)
        row.flop_rates.append(flop / (wall if self._cuda else cpu) / 1e9)

    def singles(self, row: Row, count: int, clock: Callable[[], float]) -> dict[str, float]:
        """Return the latency of tweets asked for alone."""
        found: list[float] = []
        gives_up = time.perf_counter() + SINGLES_WALL_S
        for text in self._texts[:count]:
            if found and time.perf_counter() > gives_up:
                break  # a machine with other work: fewer tweets, which the percentiles then stand on
            start = clock()
            row.answer([text])
            found.append((clock() - start) * 1000)
        return latencies(found)


def main(settings: Settings) -> dict[str, Any]:
    """Measure and return everything."""
    sys.path.insert(0, settings.archive)
    cuda = settings.device != "cpu"
    torch.set_num_threads(1)
    classifiers = _classifiers(settings)
    texts = json.loads(Path(settings.tweets_file).read_text(encoding="utf-8"))
    config = json.loads(Path(settings.merged, "config.json").read_text(encoding="utf-8"))
    shape = Shape(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])
    first = next(iter(classifiers.values()))
    measurement = Measurement(texts, [len(ids) for ids in first.encode(texts)], shape, cuda)
    rows = [] if cuda else _baseline_rows(Path(settings.merged))
    for (name, precision), classifier in classifiers.items():
        rows.append(Row(name, precision, GPU_QUEUE if cuda else QUEUE, classifier.predict))
    limits: dict[str, list[float]] = {name: [] for name in ("fp16",) if cuda} or {
        name: [] for name in supported_precisions()
    }
    for row in rows:
        row.answer(texts[: row.queue])  # the first run of a shape is the slow one
        row.answer(texts[:1])
    for number in range(settings.rounds):
        for name, values in limits.items():
            values.append(measure_cuda_limit("cuda:0") if cuda else measure_limit(name, shape))
        for row in rows:
            measurement.rate(row, settings.seconds, number * 1024)
        print(f"round {number + 1} of {settings.rounds}", file=sys.stderr, flush=True)
    tokenizer = Row("tokenizer alone", "", QUEUE, first.encode)
    measurement.rate(tokenizer, settings.seconds / 2, 0)
    clock = time.perf_counter if cuda else time.process_time
    peaks = {name: max(values) for name, values in limits.items()}
    return {
        "mean_tokens": rounded(measurement.mean_tokens),
        "mean_mflop": rounded(measurement.mean_flop / 1e6),
        "shape": {"layers": shape.layers, "hidden": shape.hidden, "intermediate": shape.intermediate},
        "limits": {
            name: {"gflops": spread(values), "tweets_per_s": rounded(max(values) * 1e9 / measurement.mean_flop)}
            for name, values in limits.items()
        },
        "engines": [
            _report(row, peaks.get(row.precision), measurement.singles(row, settings.singles, clock), cuda)
            for row in rows
        ],
        "tokenizer_tweets_per_cpu_s": rounded(tokenizer.rates[0]),
    }


def _classifiers(settings: Settings) -> dict[tuple[str, str], Any]:
    """Return name and precision -> classifier, for each engine that runs here."""
    from tweetclf.bundle import load_bundle
    from tweetclf.classifier import Classifier
    from tweetclf.engines.choice import open_engine
    from tweetclf.errors import BundleError
    from tweetclf.handler_settings import HandlerConfig

    bundle = load_bundle(Path(settings.archive) / "bundle")
    cuda = settings.device != "cpu"
    config = HandlerConfig.from_mapping({**settings.handler, "torch_threads": 1})
    found = {}
    for name, precision, limit in GPU_ENGINES if cuda else CPU_ENGINES:
        if not cuda and limit not in supported_precisions():
            continue
        try:
            engine, _ = open_engine(name, bundle, "cuda:0" if cuda else "cpu", 1, precision)
        except BundleError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        tokens = config.batch_tokens or engine.batch_tokens
        title = name if precision in ("float32", "auto") else f"{name}, {precision}"
        found[title, limit] = Classifier(bundle, engine, batch_tokens=tokens, cache_bytes=0)
    return found


def _baseline_rows(merged: Path) -> list[Row]:
    """Return what transformers does eagerly with the same weights: padded as the baseline pads."""
    context = type("Context", (), {"system_properties": {"model_dir": str(merged)}})
    handler = BaselineHandler()
    handler.initialize(context)

    def answer(texts: Sequence[str]) -> object:
        return handler.handle([{"body": text.encode()} for text in texts], context)

    return [Row(f"transformers, padded to {MAX_LENGTH}, {queue} a batch", "fp32", queue, answer) for queue in (1, 32)]


def _report(row: Row, peak: float | None, singles: dict[str, float], cuda: bool) -> dict[str, Any]:
    limit = {} if peak is None else {"share_of_limit": spread([rate / peak for rate in row.flop_rates])}
    clock = "wall" if cuda else "cpu"
    return {
        "engine": row.name,
        "precision": row.precision,
        "queue": row.queue,
        f"tweets_per_{clock}_s": spread(row.walls if cuda else row.rates),
        "tweets_per_wall_s": spread(row.walls),
        **limit,
        f"single_{clock}": singles,
    }


if __name__ == "__main__":
    print(json.dumps(main(Settings(**json.load(sys.stdin)))))
