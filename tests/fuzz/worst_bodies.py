"""Measure what the worst bodies cost: `python -m tests.fuzz.worst_bodies [--bundle FOLDER] [NAME ...]`.

Prints `form | bytes | read ms | whole ms | status | code` for each shape of `worst_shapes.py` at the server's limit,
asked of the handler in this process. `read ms` is to unpack and read it: at most 1,000 ms. `whole ms` is with the
classification of what was read. Of a list of 10,000 tweets that is ordinary work, which `batch_seconds` bounds.
Without a bundle a tiny network takes the place of the model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fuzz.worst_shapes import MAX_BODY_BYTES, SHAPES, WorstShape


class Context:
    """As much of TorchServe's context as the handler uses, for one request."""

    model_name = "tweets"
    model_yaml_config = {"handler": {"cache_bytes": 0, "torch_threads": 1, "batch_seconds": 10}}  # noqa: RUF012
    metrics = None

    def __init__(self, folder: Path, headers: dict[str, str] | None = None) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.headers = headers or {}
        self.status = 200

    def get_all_request_header(self, _: int) -> dict[str, str]:
        return self.headers

    def get_request_id(self, index: int) -> str:
        return str(index)

    def set_response_content_type(self, index: int, value: str) -> None:
        pass

    def set_response_header(self, index: int, key: str, value: str) -> None:
        pass

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        self.status = code


def code_of(answer: dict[str, Any]) -> str:
    """Return the code of the first error in an answer, or how many items it answers."""
    error = answer.get("error")
    if isinstance(error, dict):
        return str(error["code"])
    if isinstance(error, str):
        return error.partition(":")[0]
    answers = answer.get("predictions", [answer])
    codes = {one["error"]["code"] for one in answers if "error" in one}
    return f"{len(answers)} items {' '.join(sorted(codes))}"


def measure(handler: Any, folder: Path, shape: WorstShape) -> str:
    """Return one line of the table."""
    body = shape.build(MAX_BODY_BYTES)
    headers = {"Content-Length": str(len(body)), "Content-Type": shape.content_type, **shape.headers}
    context = Context(folder, headers)
    started = time.perf_counter()
    handler._parse({"body": body}, headers, time.monotonic() + 600, "tweets")
    read_ms = (time.perf_counter() - started) * 1000
    started = time.perf_counter()
    (answer,) = handler.handle([{"body": body}], context)
    whole_ms = (time.perf_counter() - started) * 1000
    code = code_of(json.loads(answer))
    return f"{shape.name} | {len(body):,} | {read_ms:.0f} | {whole_ms:.0f} | {context.status} | {code}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="a bundle's folder, for the real model")
    parser.add_argument("names", nargs="*", help="shapes to measure; all by default")
    options = parser.parse_args()
    from handler.tweets_handler import TweetsHandler

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if options.bundle is None:
            from tests.tiny_model import TinyClassifier, tiny_tokenizer, write_tiny_bundle

            write_tiny_bundle(folder / "bundle", TinyClassifier(tiny_tokenizer().get_vocab_size()).eval())
        else:
            (folder / "bundle").symlink_to(options.bundle.resolve())
        handler = TweetsHandler()
        handler.initialize(Context(folder))
        print("form | bytes | read ms | whole ms | status | code\n--- | --- | --- | --- | --- | ---")
        for shape in SHAPES:
            if not options.names or shape.name in options.names:
                print(measure(handler, folder, shape), flush=True)


if __name__ == "__main__":
    main()
