"""Find the server's settings for this machine by measuring them on real TorchServes, and write them down.

    disaster-tweets tune                        all stages, a quarter of an hour
    disaster-tweets tune --dry-run              the same, only telling what it would write
    disaster-tweets tune --stages workers jvm   only these

Stage by stage: the candidates of a stage are all started, then loaded in turn, round after round, while the others are
held; the best goes into the next stage. A candidate takes the place of the present setting when it answers at least
3 % more single tweets a second on 64 connections, and its p99 on one connection is not over 1.25 times as long.
Written are values in handler/model-config.yaml and config.properties, their comments kept. Afterwards: make archive.
The machine should have nothing else to do; the load average before is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmark.engines.tweets import data_folder, read_tweets
from benchmark.report.report import number, table
from benchmark.servers.end_to_end import Bodies, Case, LoadError, closed_loop, measure
from benchmark.servers.profiles import ARCHIVE, STORE, our_profile, with_properties
from benchmark.servers.server import Server, running
from benchmark.tune.candidates import NAMES, ONLY_SHOWN, Candidate, present, stage
from benchmark.tune.yaml_values import with_values
from ops.paths import ROOT
from ops.torchserve.instance import ServerError
from ops.torchserve.java import JavaError

MIN_GAIN = 1.03  # below it, two measurements of the same setting differ as much
MAX_P99_GROWTH = 1.25
LOADED = Case("single", 64, 2.5)
ALONE = Case("single", 1, 1.5)
BULK = Case("bulk", 8, 1.5)
WARM_UP_S = 2.5  # the front end compiles its code


@dataclass
class Found:
    """What was measured of one candidate, one value a round."""

    candidate: Candidate
    loaded: list[Mapping[str, Any]] = field(default_factory=list)
    alone: list[Mapping[str, Any]] = field(default_factory=list)
    bulk: list[Mapping[str, Any]] = field(default_factory=list)
    jvm_mb: float = 0.0
    start_s: float = 0.0

    def rate(self) -> float:
        """Return the median of single tweets a second on 64 connections."""
        return float(statistics.median(one["tweets_per_s"] for one in self.loaded))

    def p99_ms(self) -> float:
        """Return the median p99 on one connection."""
        return float(statistics.median(one["p99_ms"] for one in self.alone))

    def cells(self) -> list[str]:
        """Return the row of the table."""
        rates = [one["tweets_per_s"] for one in self.loaded]
        return [
            self.candidate.name,
            f"{number(self.rate())} ({number(min(rates))}-{number(max(rates))})",
            number(statistics.median(one["tweets_per_s"] for one in self.bulk)),
            number(statistics.median(one["p50_ms"] for one in self.alone)),
            number(self.p99_ms()),
            number(statistics.median(one["front_end_cpu_ms_per_tweet"] for one in self.loaded)),
            number(statistics.median(one["worker_cpu_ms_per_tweet"] for one in self.loaded)),
            number(self.jvm_mb),
            number(self.start_s),
            str(sum(sum(one["errors"].values()) for one in (*self.loaded, *self.alone, *self.bulk))),
        ]


HEAD = (
    "setting",
    "single/s",
    "bulk/s",
    "p50 ms",
    "p99 ms",
    "front end, ms",
    "worker, ms",
    "JVM, MB",
    "start s",
    "errors",
)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the stages; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=NAMES, default=NAMES, help="default: all, in this order")
    parser.add_argument("--rounds", type=int, default=3, help="of each stage (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="measure and print, write nothing")
    options = parser.parse_args(arguments)
    if not (root / STORE / ARCHIVE).is_file():
        print(f"tune: {STORE}/{ARCHIVE} is missing; build it: make archive", file=sys.stderr)
        return 1
    print(f"load average before: {', '.join(f'{value:.2f}' for value in os.getloadavg())}")
    work = root / "build" / "tune"
    tweets = read_tweets(data_folder(root))
    bodies = Bodies.write(work / "bodies", tweets.distinct, ())
    chosen = present(root)
    try:
        for name in options.stages:
            found = measure_stage(root, work, bodies, stage(name, chosen), options.rounds)
            best = found[0] if name in ONLY_SHOWN else choose(found)
            print(f"\n{name}: {best.candidate.name}\n\n{table(HEAD, [one.cells() for one in found])}", flush=True)
            chosen = best.candidate
    except (ServerError, LoadError, JavaError) as error:
        print(f"tune: {error}", file=sys.stderr)
        return 1
    write(root, chosen, options.dry_run)
    return 0


def measure_stage(root: Path, work: Path, bodies: Bodies, candidates: Sequence[Candidate], rounds: int) -> list[Found]:
    """Return what was measured of each candidate; the first is the present setting."""
    found = [Found(candidate) for candidate in candidates]
    with contextlib.ExitStack() as stack, tqdm(total=rounds * len(found), disable=None, unit="server") as bar:
        servers: list[Server] = []
        for place, candidate in enumerate(candidates):
            bar.set_description(f"starting {candidate.name}")
            # Without the answer cache, which would answer in place of the engine.
            measured = candidate.but(candidate.name, handler={"cache_bytes": 0}).changes
            profile = our_profile(f"candidate {place}", root, work / f"candidate{place}", measured)
            servers.append(stack.enter_context(running(profile)))
            measure(Case("single", 64, WARM_UP_S).load(servers[-1], bodies, 0))
            found[place].start_s = servers[-1].start_seconds
            servers[-1].hold()
        for turn in range(rounds):
            for server, one in zip(servers, found, strict=True):
                bar.set_description(one.candidate.name)
                server.release()
                one.loaded.append(closed_loop(server, LOADED, bodies, turn * 997))
                one.alone.append(closed_loop(server, ALONE, bodies, turn * 997))
                one.bulk.append(closed_loop(server, BULK, bodies, turn * 97))
                one.jvm_mb = server.memory()["jvm_mb"]
                server.hold()
                bar.update()
    return found


def choose(found: Sequence[Found]) -> Found:
    """Return the candidate to go on with: the present one, the first, unless another is clearly better."""
    best = found[0]
    for one in found[1:]:
        faster = one.rate() >= MIN_GAIN * found[0].rate() and one.rate() > best.rate()
        if faster and one.p99_ms() <= MAX_P99_GROWTH * found[0].p99_ms():
            best = one
    return best


def write(root: Path, chosen: Candidate, dry_run: bool) -> None:
    """Write the chosen values where they differ from those of the files."""
    model = root / "handler" / "model-config.yaml"
    properties = root / "config.properties"
    texts = {
        model: with_values(
            model.read_text(encoding="utf-8"), {**(chosen.changes.model or {}), **(chosen.changes.handler or {})}
        ),
        properties: with_properties(properties.read_text(encoding="utf-8"), chosen.changes.properties or {}),
    }
    for path, text in texts.items():
        changed = [line for line in text.splitlines() if line not in path.read_text(encoding="utf-8").splitlines()]
        if not changed:
            print(f"{path.relative_to(root)}: nothing to change")
            continue
        print(f"{path.relative_to(root)}{' (not written)' if dry_run else ''}:\n  " + "\n  ".join(changed))
        if not dry_run:
            path.write_text(text, encoding="utf-8")
    print("afterwards: make archive")
