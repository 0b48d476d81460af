"""What the chaos tests have in common: how long they wait, and what they keep and demand of a stream."""

from __future__ import annotations

from typing import Any

from tests.chaos.stream import Stream

TWEETS_BEFORE = 60
TWEETS_AFTER = 120
PATIENCE_S = 180.0  # of a client: longer than anything takes to heal, on a busy machine too
RESPONSE_TIMEOUT_S = 8  # in place of 120 s, so that a hung worker is found while the test waits
HEADER_TIMEOUT_S = 2  # of the gateway, in place of 5 s
# One thread: two of them wait for each other where a machine is busy.
SETTINGS = {"cache_bytes": "0", "torch_threads": "1", "responseTimeout": str(RESPONSE_TIMEOUT_S), "batch_seconds": "5"}

Recorded = list[dict[str, Any]]


def judge(stream: Stream, name: str, fault_at: float, protocol: str, recorded: Recorded) -> None:
    """Keep what became of a stream, and demand that nothing was lost, wrong or misplaced."""
    outcome = stream.outcome
    recorded.append(
        {
            "fault": name,
            "protocol": protocol,
            "sent": outcome.sent,
            "lost": outcome.lost,
            "wrong": outcome.wrong,
            "misplaced": outcome.misplaced,
            "recovered_s": outcome.recovered_s(fault_at),
            "slowest_s": outcome.slowest_s,
            "seen_without_retries": dict(stream.seen),
        }
    )
    assert not outcome.errors, dict(outcome.errors)
    assert (outcome.lost, outcome.wrong, outcome.misplaced) == (0, 0, 0), outcome
    assert outcome.answered == outcome.sent >= TWEETS_BEFORE + TWEETS_AFTER
