"""Markdown tables of the data card, and sentences that need more than a number, each from the report's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def _markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line) + " |" for line in lines
    )


def _collections(report: Mapping[str, Any]) -> str:
    rows = [
        (source, part["rows"], part["distinct_texts"], f"{part['positive_share']:.1%}", part["skipped_rows"])
        for source, part in report["collections"].items()
    ]
    return _markdown(("collection", "tweets", "distinct texts", "disaster", "left out"), rows)


def _labels(report: Mapping[str, Any]) -> str:
    meaning = {1: "disaster (1)", 0: "not_disaster (0)", None: "left out: says nothing about the question"}
    rows = [
        (source, f"`{label}`", meaning[target])
        for source, labels in report["label_map"].items()
        for label, target in labels.items()
    ]
    return _markdown(("collection", "its label", "here"), rows)


def _left_out(report: Mapping[str, Any]) -> str:
    rows = [
        (source, reason, count)
        for source, part in report["collections"].items()
        for reason, count in part["skipped"].items()
    ]
    return _markdown(("collection", "reason", "tweets"), rows) if rows else "No row was left out."


def _contradictions(report: Mapping[str, Any]) -> str:
    columns = ("texts", "rows", "ties", "groups", "rows_of_groups")
    rows = [(source, *(part[name] for name in columns)) for source, part in report["contradictions"].items()]
    header = ("collection", "texts with both labels", "their tweets", "ties", "groups with both labels", "their tweets")
    return _markdown(header, rows)


def _traits(report: Mapping[str, Any]) -> str:
    names = {
        "with_mention_share": "names an account",
        "retweet_share": "begins `RT @`",
        "with_link_share": "link",
        "with_hashtag_share": "hashtag",
        "english_share": "guessed English",
    }
    rows = [(source, *(f"{part[name]:.1%}" for name in names)) for source, part in report["collections"].items()]
    return _markdown(("collection", *names.values()), rows)


def _lengths(report: Mapping[str, Any]) -> str:
    columns = ("mean", "median", "percentile_99", "largest", "longer_than_max")
    rows = [(source, *(part[name] for name in columns)) for source, part in report["tokens"]["collections"].items()]
    limit = report["tokens"]["max_tokens"]
    return _markdown(("collection", "mean", "median", "99 % below", "longest", f"tweets over {limit}"), rows)


def _events(report: Mapping[str, Any]) -> str:
    rows = []
    for event in report["events"]:
        share = f"{event['positive'] / event['rows']:.1%}"
        rows.append((event["source"], event["event"], event["rows"], event["distinct_texts"], share))
    return _markdown(("collection", "event", "tweets", "distinct texts", "disaster"), rows)


def _parts(report: Mapping[str, Any]) -> str:
    rows = [(name, *parts.values()) for name, parts in report["parts"].items()]
    return _markdown(("division", *next(iter(report["parts"].values()))), rows) if rows else "No Kaggle row is here."


def _agreement(report: Mapping[str, Any]) -> str:
    found = report["agreement"]
    if not found["rows"]:
        return "Agreement is not in this table."
    return (
        f"Mean agreement {found['mean']:.1%}; unanimous on {found['unanimous_share']:.1%} of the tweets, below 0.7 on "
        f"{found['below_0.7_share']:.1%}; behind {found['not_the_majority']:,} labels stand less than half of the "
        "workers, some of whom could not decide."
    )


TABLES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "collections": _collections,
    "labels": _labels,
    "left_out": _left_out,
    "agreement": _agreement,
    "contradictions": _contradictions,
    "traits": _traits,
    "lengths": _lengths,
    "events": _events,
    "parts": _parts,
}
