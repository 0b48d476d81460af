"""Measure everything in one run: engines against their limits, TorchServe against the baseline, latency, gateway.

    disaster-tweets benchmark                    about ten minutes; writes docs/benchmarks/ and the README's table
    disaster-tweets benchmark --quick            under two minutes, into build/benchmark/quick; figures are rough
    disaster-tweets benchmark --parts engines    engines only; gateway: what nginx before the server costs
    disaster-tweets benchmark --device cuda      engine on the first GPU, into build/benchmark/cuda
    disaster-tweets benchmark --readme           no measurement: write page, plots and README from benchmark.json

Servers are its own, on free ports of 127.0.0.1, and end with it; those that are not being measured are held, so that
they take no processor time. What is compared is measured in turn, repetition by repetition. Tweets are those of
DISASTER_TWEETS_DATA where it is set, else own-written ones. The archive must be built: make archive.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.engines.tweets import data_folder, read_tweets
from benchmark.figures import without_nan
from benchmark.report import plots
from benchmark.report.machine import describe_machine
from benchmark.report.page import full_page
from benchmark.report.report import readme_section, with_section
from benchmark.servers import gateway_cost
from benchmark.servers.end_to_end import Bodies, LoadError
from benchmark.servers.profiles import ARCHIVE, STORE, unpack
from benchmark.servers.serving_part import BASELINE, BASELINE_WHOLE, FULL, QUICK, measure_servers
from ops.gateway.supervisor import GatewayError
from ops.paths import ROOT
from ops.torchserve.instance import ServerError
from ops.torchserve.java import JavaError

PARTS = ("engines", "servers", "gateway")
ENGINE_TIMEOUT_S = 900.0
RESULTS_FILE, PAGE_FILE = "benchmark.json", "report.md"


class BenchmarkError(RuntimeError):
    """The benchmark cannot run here; the message says what to do."""


@dataclass(frozen=True)
class Places:
    """Where a run works and writes.

    Args:
        root: the checkout.
        work: for what is thrown away.
        out: for JSON, page and plots.
    """

    root: Path
    work: Path
    out: Path


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run one benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short repetition")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the engines (default: cpu)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all; engines with cuda")
    parser.add_argument("--repetitions", type=int, default=5, help="of the servers' loads (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=14.0, help="no repetition of the loads begins after 60 %% of it (default: 14)"
    )
    parser.add_argument("--out", type=Path, help="folder (default: docs/benchmarks, which also sets the README)")
    parser.add_argument("--readme", action="store_true", help="only write page, plots and README from the JSON")
    options = parser.parse_args(arguments)
    default = root / "docs" / "benchmarks"
    if options.quick or options.device == "cuda":
        default = root / "build" / "benchmark" / ("cuda" if options.device == "cuda" else "quick")
    places = Places(root, root / "build" / "benchmark", options.out or default)
    try:
        if not options.readme:
            save(run(options, places), places)
        write_texts(places)
    except (BenchmarkError, LoadError, ServerError, GatewayError, JavaError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(f"written: {places.out}")
    return 0


def run(options: argparse.Namespace, places: Places) -> dict[str, Any]:
    """Measure what was asked for and return all results."""
    parts = ("engines",) if options.device == "cuda" else options.parts
    archive = places.root / STORE / ARCHIVE
    if not archive.is_file():
        raise BenchmarkError(f"{archive} is missing; build it: make archive")
    if options.device == "cuda":
        _require_gpu()
    machine = describe_machine(places.root)
    tweets = read_tweets(data_folder(places.root))
    bodies = Bodies.write(places.work / "bodies", tweets.distinct, tweets.stream)
    merged = _weights(places, str(places.root / "model"), "merged")
    config = unpack(archive, places.work / "archive")
    facts = json.loads((places.work / "archive" / "bundle" / "bundle.json").read_text(encoding="utf-8"))
    results: dict[str, Any] = {
        "machine": machine,
        "model": {"version": facts["model_version"], "layers": facts["num_hidden_layers"]},
        "tweets": {"source": tweets.source, "distinct": len(tweets.distinct), "stream": len(tweets.stream)},
        "archive_mb": round(archive.stat().st_size / 1e6, 1),
        "quick": options.quick,
    }
    # Also without the part of the engines: it counts the tokens.
    results["engines"] = _engines(options, places, bodies, merged, config["handler"], "engines" in parts)
    if "servers" in parts:
        plan = QUICK if options.quick else FULL
        repetitions = 1 if options.quick else options.repetitions
        weights = {BASELINE: merged, BASELINE_WHOLE: _weights(places, "whole", "whole")}
        results |= measure_servers(places.root, places.work, weights, bodies, plan, repetitions, options.minutes * 60)
    if "gateway" in parts:
        cost = gateway_cost.QUICK if options.quick else gateway_cost.FULL
        results["gateway"] = gateway_cost.measure_gateway(places.root, places.work, bodies, cost)
    return results


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise BenchmarkError("--device cuda: torch finds no GPU here; expected a CUDA build of torch and a GPU")


def _weights(places: Places, model: str, name: str) -> Path:
    target = places.work / name
    command = [sys.executable, "-m", "benchmark.engines.merged_weights", model, str(target)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env=environment, check=False
    )
    if result.returncode != 0:
        raise BenchmarkError(f"the weights of {name} could not be written: {result.stderr.strip()[-500:]}")
    return target


def _engines(
    options: argparse.Namespace, places: Places, bodies: Bodies, merged: Path, handler: dict[str, Any], full: bool
) -> dict[str, Any]:
    settings = {
        "archive": str(places.work / "archive"),
        "merged": str(merged),
        "tweets_file": str(bodies.single),
        "handler": handler,
        "device": options.device,
        "rounds": 1 if options.quick or not full else 5,
        "seconds": 0.4 if options.quick or not full else 1.5,
        "singles": 50 if options.quick or not full else 300,
    }
    print("engines, one core ...", file=sys.stderr)
    result = subprocess.run(
        [sys.executable, "-m", "benchmark.engines.engine_process"],
        input=json.dumps(settings),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=ENGINE_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        raise BenchmarkError("the engines could not be measured; the reason stands above")
    measured: dict[str, Any] = json.loads(result.stdout)
    return measured


def save(results: dict[str, Any], places: Places) -> None:
    """Write the results."""
    places.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(without_nan(results), indent=1, allow_nan=False)
    (places.out / RESULTS_FILE).write_text(text + "\n", encoding="utf-8")


def write_texts(places: Places) -> None:
    """Write page and plots from the results, and the README's section when they are the project's own."""
    source = places.out / RESULTS_FILE
    if not source.is_file():
        raise BenchmarkError(f"{source} is missing; run the benchmark without --readme")
    results = json.loads(source.read_text(encoding="utf-8"))
    (places.out / PAGE_FILE).write_text(full_page(results), encoding="utf-8")
    plots.draw(results, places.out)
    if places.out.resolve() == (places.root / "docs" / "benchmarks").resolve():
        readme = places.root / "README.md"
        changed = with_section(readme.read_text(encoding="utf-8"), readme_section(results))
        readme.write_text(changed, encoding="utf-8")
