"""Good requests that travel in the same batches as bad ones, and must be answered as if alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.conftest import SCORE_STEP
from tests.fuzz.drawn_requests import DrawnRequest
from tests.fuzz.http_exchange import Reply, exchange

STREETS = ("Mill Lane", "Harbour Road", "Church Hill", "Station Square", "Quarry Drive", "Orchard Way")
TEXTS = tuple(
    form.format(street)
    for street in STREETS
    for form in (
        "Flood water reaches the school on {}, roof rescue under way",
        "smoke over {} again, it is only the barbecue season \U0001f525",
        "Gas leak near {}: police clear four blocks, shelter in the sports hall",
    )
)


@dataclass
class NeighbourCount:
    """How often a neighbour was answered, and how closely as when alone."""

    answered: int = 0
    same_bits: int = 0
    one_step_of_score: int = 0


def neighbour_requests() -> list[DrawnRequest]:
    """Return good requests in each documented form."""
    requests = []
    for index, text in enumerate(TEXTS):
        other = TEXTS[index - 1]
        v2 = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": [text, other]}]}
        requests += [
            _request(text.encode(), "application/x-www-form-urlencoded"),
            _request(json.dumps([text, {"text": other, "id": index}]).encode(), "application/json"),
            _request(f"{text}\n{other}\n".encode(), "application/x-ndjson"),
            _request(json.dumps({"instances": [text]}).encode(), "application/json", "/v1/models/tweets:predict"),
            _request(json.dumps(v2).encode(), "application/json", "/v2/models/tweets/infer"),
        ]
    return requests


def _request(body: bytes, content_type: str, path: str = "/predictions/tweets") -> DrawnRequest:
    return DrawnRequest("neighbour", path=path, headers=(("Content-Type", content_type),), body=body)


class Neighbours:
    """The good requests with the answers that each got alone.

    Args:
        port: of a server that nobody else uses just now.
    """

    def __init__(self, port: int) -> None:
        self.requests = neighbour_requests()
        self.count = NeighbourCount()
        self._alone: dict[DrawnRequest, Reply] = {}
        for request in self.requests:
            reply = exchange(port, request)
            assert reply.status == 200, reply
            self._alone[request] = reply

    def problem_with(self, request: DrawnRequest, reply: Reply) -> str | None:
        """Compare an answer with the one got alone, and count it.

        Everything but the score must be the same to the last bit. The float32 path sums in an order that depends on
        the shape of its micro-batch, so that a score may come out one step of its last decimal away (DESIGN: 1e-4).
        """
        self.count.answered += 1
        alone = self._alone[request]
        if reply == alone:
            self.count.same_bits += 1
            return None
        if reply.status != 200:
            return f"a good neighbour got HTTP {reply.status}: {reply.body[:200]!r}"
        found, expected = _without_scores(reply.body), _without_scores(alone.body)
        if found[0] != expected[0] or len(found[1]) != len(expected[1]):
            return f"a good neighbour got {reply.body[:300]!r}; alone it got {alone.body[:300]!r}"
        if any(abs(one - other) > SCORE_STEP for one, other in zip(found[1], expected[1], strict=True)):
            return f"a neighbour's scores are {found[1]}; alone they were {expected[1]}"
        self.count.one_step_of_score += 1
        return None


def _without_scores(body: bytes) -> tuple[Any, list[float]]:
    """Return an answer with its scores taken out, and the scores in order."""
    scores: list[float] = []

    def take(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("name") == "score":  # of Open Inference: a tensor
                scores.extend(value["data"])
                return {**value, "data": None}
            return {key: _take_number(scores, item) if key == "score" else take(item) for key, item in value.items()}
        return [take(item) for item in value] if isinstance(value, list) else value

    return take(json.loads(body)), scores


def _take_number(scores: list[float], value: float) -> None:
    scores.append(value)
