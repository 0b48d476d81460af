"""The page of all figures, docs/benchmarks/report.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmark.report.report import Results, number, readme_section, table
from benchmark.servers.end_to_end import SINGLES_PER_S

KINDS = {"single": "REST, single", "bulk": "REST, 64 a request", "grpc": "gRPC, single", "stream": "REST, single"}


def full_page(results: Results) -> str:
    """Return the page as Markdown."""
    parts = [
        "# Benchmark",
        "Made by `make benchmark` from `benchmark.json`; not edited by hand.",
        *([QUICK_NOTE] if results.get("quick") else []),
        readme_section(results).replace("docs/benchmarks/report.md", "report.md"),
        "## Engines on one core",
        *_engines(results["engines"]),
    ]
    if results.get("end_to_end"):
        parts += ["## Through TorchServe, closed loop", _closed(results["end_to_end"]), CLOSED_NOTE]
        parts += [WARM_UP_NOTE.format(results["warm_up_s"])] if "warm_up_s" in results else []
    if results.get("open_loop"):
        parts += ["## At a fixed rate", _open(results["open_loop"])]
    if results.get("beside_bulk_job"):
        parts += ["## Single requests beside a bulk job", _beside(results["beside_bulk_job"])]
    if results.get("gateway"):
        parts += ["## Through the gateway, closed loop", _gateway(results["gateway"]), GATEWAY_NOTE]
    if results.get("memory"):
        parts += ["## Start and memory", _memory(results)]
    parts += ["## Machine", _machine(results["machine"])]
    return "\n\n".join(parts) + "\n"


WARM_UP_NOTE = (
    "Before the first loop each server has answered for {:g} s on each way in, uncounted: meanwhile Java compiles."
)
QUICK_NOTE = "A quick run: one short repetition, which shows that everything works and not how fast it is."
CLOSED_NOTE = (
    "Each connection sends its next request when the one before is answered. Processor time is milliseconds of a core "
    "a tweet, generator excluded; its own share of a core stands in the last column. `ours, cache` is the server as "
    "shipped, with the answer cache, on CrisisLexT6 tweets in their own order, repeats included; its neighbour is the "
    "same stream without the cache."
)
GATEWAY_NOTE = (
    "The same running server, answer cache off, asked in turn directly and through nginx as `make gateway` runs it "
    "(TLS 1.3, an API key judged at each request, two layers), on the same cores; its limits of rate are lifted. The "
    "last column is milliseconds of a core that nginx and the guard take for a request."
)


def median_and_spread(found: Mapping[str, Any]) -> str:
    """Return `median (lowest-highest)`."""
    return f"{number(found['median'])} ({number(found['low'])}-{number(found['high'])})"


def _engines(measured: Mapping[str, Any]) -> Iterator[str]:
    shape = measured["shape"]
    yield (
        f"{shape['layers']} layers of width {shape['hidden']} and {shape['intermediate']}; "
        f"{number(measured['mean_tokens'])} real tokens and {number(measured['mean_mflop'])} million operations a "
        "tweet, padding not counted. The limit is the best rate of oneDNN's packed matrix products of these shapes on "
        "this core; norms, softmax and GELU count as nothing. Queue of 64 in order of arrival, tokenizer included."
    )
    limits = [
        [name, median_and_spread(limit["gflops"]), number(limit["tweets_per_s"])]
        for name, limit in measured["limits"].items()
    ]
    yield table(["precision", "GFLOP/s measured", "tweets/s at most"], limits)
    rows = []
    for row in measured["engines"]:
        clock = "cpu" if "single_cpu" in row else "wall"
        share = row.get("share_of_limit")
        single = row[f"single_{clock}"]
        rows.append(
            [
                row["engine"],
                row["precision"],
                median_and_spread(row[f"tweets_per_{clock}_s"]),
                f"{100 * share['median']:.0f} %" if share else "",
                f"{number(single['p50_ms'])} / {number(single['p99_ms'])}",
            ]
        )
    yield table(["engine", "precision", "tweets/s of processor time", "of its limit", "alone: p50 / p99, ms"], rows)
    yield f"Tokenizer alone: {number(measured['tokenizer_tweets_per_cpu_s'])} tweets/s."


def _closed(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [
            row["profile"].replace("_", ", "),
            KINDS[row["kind"]] + (", crisis stream" if row["kind"] == "stream" else ""),
            str(row["connections"]),
            median_and_spread(row["tweets_per_s"]),
            *(number(row[name]["median"]) for name in ("p50_ms", "p95_ms", "p99_ms")),
            " + ".join(number(row[f"{part}_cpu_ms_per_tweet"]["median"]) for part in ("front_end", "worker")),
            str(sum(row["errors"].values())),
            f"{100 * row['generator_cpu_share_of_a_core']['median']:.0f} %",
        ]
        for row in rows
    ]
    head = ["server", "requests", "connections", "tweets/s", "p50 ms", "p95 ms", "p99 ms", "front end + worker, ms"]
    return table([*head, "errors", "generator"], cells)


def _open(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [
            f"{100 * row['share_of_capacity']:.0f} %",
            number(row["offered_per_s"]["median"]),
            *(median_and_spread(row[name]) for name in ("p50_ms", "p95_ms", "p99_ms")),
            str(sum(row["errors"].values()) + row["unanswered"]),
        ]
        for row in rows
    ]
    return "Random arrivals; latency from the time at which a request was due.\n\n" + table(
        ["of capacity", "requests/s", "p50 ms", "p95 ms", "p99 ms", "failed"], cells
    )


def _beside(found: Mapping[str, Any]) -> str:
    cells = [
        [name, *(median_and_spread(found[name][figure]) for figure in ("p50_ms", "p95_ms", "p99_ms"))]
        for name in ("alone", "beside")
    ]
    return (
        f"{SINGLES_PER_S:.0f} a second, at random times; the job is one request of {found['job_items']:,} tweets and "
        f"took {median_and_spread(found['job_seconds'])} s.\n\n" + table(["", "p50 ms", "p95 ms", "p99 ms"], cells)
    )


def _gateway(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [
            row["profile"],
            str(row["connections"]),
            *(median_and_spread(row[name]) for name in ("tweets_per_s", "p50_ms", "p99_ms")),
            str(sum(row["errors"].values())),
            number(row["gateway_cpu_ms_per_tweet"]["median"]) if "gateway_cpu_ms_per_tweet" in row else "",
        ]
        for row in rows
    ]
    return table(["way", "connections", "requests/s", "p50 ms", "p99 ms", "errors", "gateway, ms"], cells)


def _memory(results: Results) -> str:
    cells = [
        [
            profile,
            median_and_spread(results["start_seconds"][profile]),
            *(number(memory[name]["median"]) for name in ("worker_mb", "workers_mb", "jvm_mb")),
        ]
        for profile, memory in results["memory"].items()
    ]
    head = ["server", "start to first true answer, s", "one worker, MB", "all workers, MB", "front end, MB"]
    return table(head, cells) + f"\n\nArchive: {number(results['archive_mb'])} MB."


def _machine(machine: Mapping[str, Any]) -> str:
    lines = [[name, str(value)] for name, value in machine.items() if name not in ("packages", "flags")]
    lines.append(["flags", " ".join(machine["flags"])])
    lines += [[name, value] for name, value in machine["packages"].items()]
    return table(["", ""], lines)
