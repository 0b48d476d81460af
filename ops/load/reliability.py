"""Write docs/reliability.md from what the runs of fuzz, chaos, soak and attacks left in docs/reliability/.

No figure is typed by hand: a run writes its JSON (`make fuzz chaos soak RELIABILITY_DIR=docs/reliability`), this
writes the page. A subject without a file is said to be missing.

    python -m ops.load.reliability
    python -m ops.load.reliability --check      exit status 1 when the page is not what the files say
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.paths import ROOT

RECORDS = Path("docs/reliability")
PAGE = Path("docs/reliability.md")
HEAD = """# What it withstands

Written by `python -m ops.load.reliability` from the files in [reliability/](reliability/), which the runs named
below wrote. "Lost": a tweet that the client, trying again until its deadline, got no answer for. "Wrong": an answer
that differs from the one given when nothing was broken. "Misplaced": an answer that belongs to another tweet, or comes
twice. What it takes to run this and what each error means: [operations.md](operations.md).
"""
Record = Mapping[str, Any]


class ReportError(RuntimeError):
    """A record cannot be read; the message says which and what to do."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)]


def number(value: float) -> str:
    """Return a number as people read it."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".rstrip("0").rstrip(".")


def counted(counts: Mapping[str, int]) -> str:
    """Return counts as a list, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{number(count)} x {name}" for name, count in ordered)


def run_line(record: Record) -> str:
    """Return when, on what and on which model a run was made."""
    machine = record.get("machine", {})
    facts = [f"Run {record['run_at']}"]
    if machine:
        facts.append(f"{machine['cores']} cores, Python {machine['python']}")
    if "archive" in record:
        facts.append(str(record["archive"]))
    return "; ".join(facts) + "."


def faults(record: Record) -> list[str]:
    """Return the section on faults, directly at the server or through the gateway."""
    rows = [
        [
            *(fault["fault"], fault["protocol"], number(fault["sent"])),
            *(fault["lost"], fault["wrong"], fault["misplaced"]),
            "not at all" if fault["recovered_s"] is None else f"{number(fault['recovered_s'])} s",
            f"{number(fault['slowest_s'])} s",
            counted(fault["seen_without_retries"]),
        ]
        for fault in record["faults"]
    ]
    head = (
        "fault",
        "protocol",
        "tweets",
        "lost",
        "wrong",
        "misplaced",
        "recovered in",
        "slowest",
        "seen without retries",
    )
    return [
        run_line(record),
        "",
        "Recovered: from the fault to the first answer to a question asked after it. The last column is one client "
        "that does not try again. A server that ends in good order still answers for a moment: there the slowest "
        f"answer tells more. `responseTimeout` was {record['response_timeout_s']} s in place of 120.",
        "",
        *table(head, rows),
    ]


def fuzz(http: Record | None, grpc: Record | None, parser: Record | None) -> list[str]:
    """Return the section on fuzzing."""
    rows: list[list[object]] = []
    details: list[str] = []
    for name, record, unit in (("HTTP, in batches", http, "requests"), ("gRPC, in batches", grpc, "calls")):
        if record is None:
            continue
        neighbours = record["neighbours"]
        rows.append(
            [
                *(name, number(record[unit]), record["problems"], record["worker_restarts"]),
                f"{number(neighbours['answered'])}: {number(neighbours['same_bits'])} same to the bit, "
                f"{number(neighbours['one_step_of_score'])} one step of the score's last decimal away, "
                f"{number(neighbours['answered'] - neighbours['same_bits'] - neighbours['one_step_of_score'])} changed",
                f"{number(record['worker_rss_growth_mb'])} MB, "
                f"{number(record['worker_rss_slope_bytes_per_request'])} B a {unit[:-1]}",
            ]
        )
        details.append(f"{name}: {run_line(record)} Answers: {counted(record.get('statuses') or record['codes'])}.")
    lines = table(("what", "drawn", "broken promises", "workers lost", "good neighbours", "worker memory growth"), rows)
    if http is not None:
        details.append(f"HTTP by kind: {counted(http['kinds'])}.")
    if parser is not None:
        edges = parser["covered_edges"]
        details.append(
            f"Request parser and normaliser, guided by coverage: {run_line(parser)} {number(parser['runs'])} inputs "
            f"from {parser['seeds']} own-written seeds, {edges['seeds']} edges covered by the seeds and {edges['end']} "
            f"at the end; {parser['found']} findings."
        )
    return [*lines, "", *(f"- {detail}" for detail in details)]


def soak(record: Record) -> list[str]:
    """Return the section on the soak."""
    files = record["open_files_growth"]
    rows = [
        ("length", f"{number(record['minutes'])} minutes"),
        ("capacity, measured just before", f"{number(record['capacity_rps'])} requests/s"),
        ("rate", f"{number(record['rate_rps'])} requests/s"),
        ("requests, tweets", f"{number(record['requests'])}, {number(record['tweets'])}"),
        ("kinds", counted(record["kinds"])),
        ("wrong or missing answers", number(record["errors"])),
        (
            "latency from the moment due, p50, p95, p99",
            ", ".join(f"{number(value)} ms" for value in record["latency_ms"].values()),
        ),
        ("median latency, last tenth to third tenth", f"{number(record['latency_drift'])} times"),
        ("worker memory, first and last", " and ".join(f"{number(value)} MB" for value in record["worker_rss_mb"])),
        (
            "worker memory slope after the first quarter",
            f"{number(record['worker_rss_slope_mb_per_minute'])} MB a minute",
        ),
        (
            "front end memory, first and last",
            " and ".join(f"{number(value)} MB" for value in record["front_end_rss_mb"]),
        ),
        ("open files, growth", f"worker {number(files['worker'])}, front end {number(files['front_end'])}"),
        ("limits exceeded", "; ".join(record["problems"]) or "none"),
    ]
    return [run_line(record), "", *table(("figure", "value"), rows)]


def attacks(record: Record) -> list[str]:
    """Return the section on attacks."""
    return [run_line(record), "", *table(("attack", "what came of it"), list(record["attacks"].items()))]


def privacy(record: Record) -> list[str]:
    """Return the section on privacy."""
    return [
        run_line(record),
        "",
        f"{number(record['requests_with_canary'])} requests with a canary in every route, form, header and failure, a "
        f"worker killed among them, every logger at {record['log_level']}. Searched for it in "
        f"{record['forms_of_canary_searched']} spellings: {number(record['bytes_of_logs_searched'])} bytes of logs, "
        f"{number(record['files_searched'])} files left under the server's folders, "
        f"{number(record['error_answers_searched'])} error answers, the metrics, the model's description, the audit "
        f"log. Found: {record['found']}.",
    ]


def doctor(record: Record) -> list[str]:
    """Return the section on broken configurations."""
    rows = []
    for case in record["cases"]:
        findings = case["findings"]
        first = next((one for one in findings if one["severity"] == case["expected"]), None)
        said = "nothing" if first is None else f"{first['where']}: {first['found']}; {first['fix']}"
        rows.append([case["case"], case["expected"] if case["found"] else "NOT FOUND", said.replace("|", "/")])
    counts = f"{record['found']} of {record['broken']} found; {record['healthy_findings']} findings on a whole one."
    return [counts, "", *table(("broken configuration", "found as", "doctor says"), rows)]


SECTIONS: tuple[tuple[str, str, str, Callable[[Record], list[str]]], ...] = (
    ("Faults, at the server itself", "chaos", "make chaos", faults),
    ("Faults, through the gateway", "chaos_gateway", "make chaos", faults),
    ("Soak", "soak", "make soak", soak),
    ("Attacks on the server's own ports", "attacks", "make chaos", attacks),
    ("Attacks through the gateway", "attacks_gateway", "make chaos", attacks),
    ("Privacy", "privacy", "make chaos", privacy),
    ("Doctor on broken configurations", "doctor", "python -m tests.ops.doctor.broken_configurations", doctor),
)
FUZZ_FILES = ("fuzz_http", "fuzz_grpc", "fuzz_parser")


def read(root: Path, name: str) -> Record | None:
    """Return a record, or None where there is none.

    Raises:
        ReportError: the file is no JSON object.
    """
    path = root / RECORDS / f"{name}.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(f"{path} is no JSON ({error}); run its subject again") from None
    if not isinstance(record, dict):
        raise ReportError(f"{path} is no record of a run; expected an object; run its subject again")
    return record


def page(root: Path) -> str:
    """Return the page as the records under a root say it.

    Raises:
        ReportError: a record cannot be read or lacks a figure.
    """
    lines = [HEAD]
    fuzzed = [read(root, name) for name in FUZZ_FILES]
    lines += ["## Fuzz", "", "`make fuzz`", ""]
    try:
        lines += fuzz(*fuzzed) if any(fuzzed) else ["Not run."]
    except (KeyError, TypeError) as error:
        raise ReportError(f"{RECORDS}/fuzz_*.json lack a figure ({error!r}); run make fuzz again") from error
    for title, name, command, section in SECTIONS:
        record = read(root, name)
        lines += ["", f"## {title}", "", f"`{command}`", ""]
        try:
            lines += ["Not run."] if record is None else section(record)
        except (KeyError, TypeError) as error:
            raise ReportError(f"{RECORDS / name}.json lacks a figure ({error!r}); run its subject again") from error
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when the page is stale")
    options = parser.parse_args(arguments)
    try:
        text = page(root)
    except ReportError as error:
        print(f"reliability: {error}", file=sys.stderr)
        return 1
    target = root / PAGE
    if options.check:
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            return 0
        print(
            f"reliability: {PAGE} is not what {RECORDS}/ says; run: python -m ops.load.reliability",
            file=sys.stderr,
        )
        return 1
    target.write_text(text, encoding="utf-8")
    print(f"{PAGE} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
