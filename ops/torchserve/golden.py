"""Ask a local server and compare what it answers with the golden answers of its archive."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.settings.server import Address

TOLERANCE = 1e-3  # another machine, thread count or GPU rounds differently; a wrong model is far beyond
MODEL = "tweets"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"  # what curl -d sends


class WrongAnswersError(RuntimeError):
    """The server answers, and not as the archive promised; the message holds figures and no tweet."""


def ask(
    address: Address, path: str, body: bytes | None = None, content_type: str = JSON, timeout_s: float = 10.0
) -> tuple[int, bytes]:
    """Return status and body of one request, past every proxy: GET without a body, else POST.

    Raises:
        OSError: nothing answers there, or not in time.
        http.client.HTTPException: what answers does not speak HTTP.
    """
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    try:
        headers = {"Content-Type": content_type} if body is not None else {}
        connection.request("GET" if body is None else "POST", path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@dataclass(frozen=True)
class Workers:
    """How many workers have loaded the model, and how many there shall be; 0 and 1 where nothing is known."""

    ready: int = 0
    wanted: int = 1

    @property
    def is_complete(self) -> bool:
        """Tell whether none is missing."""
        return self.ready >= self.wanted


def loaded_workers(management: Address) -> Workers:
    """Ask how many workers have loaded the model; each compared its own golden answers before it said READY."""
    try:
        status, body = ask(management, f"/models/{MODEL}", timeout_s=2.0)
        model = json.loads(body)[0] if status == http.client.OK else {"workers": []}
        ready = sum(worker.get("status") == "READY" for worker in model["workers"])
        return Workers(ready, max(1, int(model.get("minWorkers", 1))))
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError):
        return Workers()


def is_loaded(management: Address) -> bool:
    """Tell whether a worker of the model has loaded it; predictions asked for earlier would wait in the queue."""
    return loaded_workers(management).ready > 0


def check_golden(inference: Address, golden_file: Path, timeout_s: float = 60.0) -> int:
    """Ask for all golden tweets at once and compare label and score.

    Args:
        inference: the server's REST address.
        golden_file: JSON list of `{"text", "score", "label"}` as the archive's handler answered them at the export.
        timeout_s: for each wait for bytes of the answer.

    Returns:
        How many answers were right: all of them.

    Raises:
        WrongAnswersError: an answer is missing, an error, or further than `TOLERANCE` from its score.
        OSError: the server does not answer.
    """
    golden: list[dict[str, Any]] = json.loads(golden_file.read_text(encoding="utf-8"))
    if not golden:
        raise WrongAnswersError(f"{golden_file.name} is empty; build the archive again: make archive")
    body = json.dumps([{"text": sample["text"]} for sample in golden]).encode()
    status, answer = ask(inference, f"/predictions/{MODEL}", body, timeout_s=timeout_s)
    if status != http.client.OK:
        raise WrongAnswersError(f"the golden tweets were answered with HTTP {status}: {answer[:200]!r}")
    try:
        predictions = json.loads(answer)["predictions"]
        pairs = list(zip(golden, predictions, strict=True))
        distances = [abs(sample["score"] - prediction.get("score", float("inf"))) for sample, prediction in pairs]
        wrong = [
            index
            for index, (sample, prediction) in enumerate(pairs)
            if not distances[index] <= TOLERANCE or sample.get("label", prediction["label"]) != prediction["label"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise WrongAnswersError(f"the golden tweets got no list of predictions ({error!r})") from error
    if wrong:
        raise WrongAnswersError(
            f"{len(wrong)} of {len(golden)} golden tweets were answered wrongly (first: number {wrong[0] + 1}, score "
            f"off by {distances[wrong[0]]:.4f}; expected within {TOLERANCE}); build the archive again: make archive"
        )
    return len(golden)


def ask_as_curl(inference: Address, tweet: str) -> str:
    """Return the answer that `curl -X POST .../predictions/tweets -d TWEET` gets."""
    status, answer = ask(inference, f"/predictions/{MODEL}", tweet.encode(), FORM)
    if status != http.client.OK:
        raise WrongAnswersError(f"the example was answered with HTTP {status}: {answer[:200]!r}")
    return answer.decode()
