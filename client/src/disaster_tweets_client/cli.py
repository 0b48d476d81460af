"""The command `disaster-tweets`: texts in, one line of answer each out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from disaster_tweets_client.base_client import BaseClient
from disaster_tweets_client.errors import DisasterTweetsError, InvalidArgumentError, ItemError
from disaster_tweets_client.prediction import Prediction
from disaster_tweets_client.rest_client import RestClient

API_KEY_VARIABLE = "DISASTER_TWEETS_API_KEY"  # no option: it would show in the list of processes
LINES_PER_CALL = 1_000  # a long file answers as it goes, each part within its own deadline

EXIT_ITEM_ERROR = 1
EXIT_USAGE = 2
EXIT_SERVER_ERROR = 3

EPILOG = f"""\
examples:
  disaster-tweets-client "Wildfire jumps the highway, families being evacuated" "this mixtape is fire"
  disaster-tweets-client --file tweets.txt --json > answers.jsonl
  cat tweets.txt | disaster-tweets-client --grpc

output: label, score, decision and text, parted by tabs; one line for each line of input, in order, also for a
line that cannot be classified ("error", its code, and what is wrong), so that `paste` fits them together again.
exit status: 0, or {EXIT_ITEM_ERROR} if a tweet could not be classified, {EXIT_USAGE} for wrong usage, \
{EXIT_SERVER_ERROR} for a server that did not answer.
environment: {API_KEY_VARIABLE} is sent as a bearer token; to another machine only over TLS
(an https:// address, or --grpc with --tls or --ca-file).
"""


def run() -> None:
    """Run the command and leave the process with its exit status."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush fails
        status = 0
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify what the command line names; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.texts and options.file is not None:
        parser.error("both texts and --file are given; expected one of them")
    try:
        with _client(options) as client, _lines(options) as lines:
            return _classify(client, lines, options.json)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        print(f"disaster-tweets: {error}", file=sys.stderr)
        return EXIT_USAGE
    except DisasterTweetsError as error:
        print(f"disaster-tweets: {error}", file=sys.stderr)
        return EXIT_SERVER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="disaster-tweets-client",
        description="Ask a disaster-tweets server whether tweets tell of a disaster.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="a tweet; none: one tweet a line from standard input")
    parser.add_argument("--file", metavar="PATH", help="one tweet a line, UTF-8; - is standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of tabs")
    parser.add_argument("--grpc", action="store_true", help="speak gRPC instead of HTTP")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="address over HTTP (default: %(default)s)")
    parser.add_argument("--target", default="127.0.0.1:7070", help="address over gRPC (default: %(default)s)")
    parser.add_argument("--tls", action="store_true", help="speak TLS over gRPC, trusting the usual authorities")
    parser.add_argument("--ca-file", metavar="PATH", help="PEM of the authority to trust instead; over gRPC speaks TLS")
    parser.add_argument("--model", default="tweets", help="name of the model (default: %(default)s)")
    parser.add_argument(
        "--timeout-s", type=float, default=30.0, help=f"for each {LINES_PER_CALL} tweets (default: %(default)s)"
    )
    parser.add_argument("--retries", type=int, default=3, help="attempts after the first (default: %(default)s)")
    return parser


def _client(options: argparse.Namespace) -> BaseClient:
    api_key = os.environ.get(API_KEY_VARIABLE) or None
    settings: dict[str, Any] = {"timeout_s": options.timeout_s, "retries": options.retries, "api_key": api_key}
    settings["ca_file"] = options.ca_file
    if options.grpc:
        from disaster_tweets_client.grpc_client import GrpcClient  # takes longer to import than all the rest

        return GrpcClient(options.target, options.model, tls=options.tls, **settings)
    if options.tls:
        raise InvalidArgumentError("--tls is of gRPC; expected it with --grpc, or --url https://...")
    return RestClient(options.url, options.model, **settings)


@contextlib.contextmanager
def _lines(options: argparse.Namespace) -> Iterator[Iterable[str]]:
    if options.texts:
        yield options.texts
        return
    # Only \n ends a line: a tweet may hold the other characters that Python takes for line ends.
    source = sys.stdin.fileno() if options.file in (None, "-") else options.file
    with open(source, encoding="utf-8", newline="\n", closefd=source is options.file) as file:
        yield (line.removesuffix("\n").removesuffix("\r") for line in file)


def _classify(client: BaseClient, lines: Iterable[str], as_json: bool) -> int:
    texts = iter(lines)
    num_done = num_errors = 0
    while block := list(islice(texts, LINES_PER_CALL)):
        answers = client.predict(block, on_error="return")
        for text, answer in zip(block, answers, strict=True):
            print(_json_line(text, answer) if as_json else _tab_line(text, answer))
        num_done += len(block)
        num_errors += sum(isinstance(answer, ItemError) for answer in answers)
        _show_progress(num_done)
    return EXIT_ITEM_ERROR if num_errors else 0


def _json_line(text: str, answer: Prediction | ItemError) -> str:
    if isinstance(answer, ItemError):
        return json.dumps({"text": text, "error": {"code": answer.code, "message": answer.message}})
    fields = {"label": answer.label, "score": answer.score, "decision": answer.decision}
    return json.dumps({"text": text, **fields, "model_version": answer.model_version, "truncated": answer.truncated})


def _tab_line(text: str, answer: Prediction | ItemError) -> str:
    shown = " ".join(text.split())
    if isinstance(answer, ItemError):
        return "\t".join(("error", answer.code, answer.message, shown))
    return "\t".join((answer.label, f"{answer.score:.4f}", answer.decision, shown))


def _show_progress(num_done: int) -> None:
    """Rewrite a count where a person looks on and the answers go elsewhere."""
    if sys.stderr.isatty() and not sys.stdout.isatty():
        print(f"\r{num_done:,} tweets ", end="", file=sys.stderr, flush=True)
