"""The command line, as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from disaster_tweets_client import cli
from tests.client.conftest import free_port
from tests.client.stub_server import Scripted, StubServer, prediction

CLIENT_SOURCE = Path(__file__).resolve().parents[2] / "client" / "src"
TEXTS = ["Flood water is over the bridge", "this mixtape is \U0001f525"]


def run_command(arguments: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "disaster_tweets_client", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CLIENT_SOURCE), "PYTHONIOENCODING": "utf-8"},
    )


def expected_line(text: str) -> str:
    answer = prediction(text)
    return f"{answer['label']}\t{answer['score']:.4f}\t{answer['decision']}\t{' '.join(text.split())}"


def test_main_with_texts_prints_a_line_each(stub: StubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--url", stub.rest_url, *TEXTS]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [expected_line(text) for text in TEXTS]
    assert printed.err == ""


def test_main_over_grpc_prints_the_same(stub: StubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--grpc", "--target", stub.grpc_target, *TEXTS]) == 0
    assert capsys.readouterr().out.splitlines() == [expected_line(text) for text in TEXTS]


def test_main_as_json_prints_objects_with_the_text(stub: StubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--url", stub.rest_url, "--json", TEXTS[1], ""]) == cli.EXIT_ITEM_ERROR
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["text"] == TEXTS[1]
    assert good["score"] == prediction(TEXTS[1])["score"]
    assert bad == {"text": "", "error": {"code": "EMPTY_TEXT", "message": "nothing to read"}}


def test_main_with_a_file_answers_each_line_in_its_place(
    stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "LINES_PER_CALL", 2)
    path = tmp_path / "tweets.txt"
    path.write_bytes("one storm\u2028same tweet\r\n\ntab\tin it\nlast".encode())
    assert cli.main(["--url", stub.rest_url, "--file", str(path)]) == cli.EXIT_ITEM_ERROR
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == expected_line("one storm\u2028same tweet")
    assert lines[1] == "error\tEMPTY_TEXT\tnothing to read\t"
    assert lines[2:] == [expected_line("tab\tin it"), expected_line("last"), ""]
    assert [len(json.loads(request.body)) for request in stub.received] == [2, 2]


def test_the_command_with_standard_input_answers_each_line(stub: StubServer) -> None:
    run = run_command(["--url", stub.rest_url], "\n".join(TEXTS).encode())
    assert run.stdout.decode().splitlines() == [expected_line(text) for text in TEXTS]
    assert (run.returncode, run.stderr) == (0, b"")


def test_the_command_when_its_reader_leaves_ends_in_silence(stub: StubServer) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "disaster_tweets_client", "--url", stub.rest_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CLIENT_SOURCE)},
    )
    process.stdout.close()
    process.stdin.write(b"one storm\n" * 5_000)
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 0


def test_main_when_no_server_answers_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert cli.main(["--url", url, "--retries", "0", TEXTS[0]]) == cli.EXIT_SERVER_ERROR
    assert "is the server running?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--file", "absent.txt"], ["--url", "nowhere", "a storm"], ["--timeout-s", "0"]])
def test_main_with_unusable_arguments_says_which(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == cli.EXIT_USAGE
    assert capsys.readouterr().err.startswith("disaster-tweets: ")


def test_main_with_texts_and_a_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--file", "tweets.txt", "a storm"])
    assert ended.value.code == cli.EXIT_USAGE
    assert "expected one of them" in capsys.readouterr().err


def test_main_with_a_file_that_is_not_utf8_says_where(
    stub: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tweets.txt"
    path.write_bytes(b"caf\xe9 on fire\n")
    assert cli.main(["--url", stub.rest_url, "--file", str(path)]) == cli.EXIT_USAGE
    assert "position 3" in capsys.readouterr().err


def test_main_sends_the_key_of_the_environment(stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.API_KEY_VARIABLE, "secret")
    cli.main(["--url", stub.rest_url, "a storm"])
    assert stub.received[0].headers["authorization"] == "Bearer secret"


def test_main_where_a_person_looks_on_counts(
    stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.sys.stderr, "isatty", lambda: True, raising=False)
    stub.script = [Scripted()]
    assert cli.main(["--url", stub.rest_url, *TEXTS]) == 0
    assert "2 tweets" in capsys.readouterr().err


def test_run_ends_with_the_status_of_main(stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["disaster-tweets", "--url", stub.rest_url, ""])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == cli.EXIT_ITEM_ERROR


def test_run_when_interrupted_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == 130


def test_the_command_with_help_shows_an_example() -> None:
    run = run_command(["--help"])
    assert run.returncode == 0
    assert b'disaster-tweets-client "Wildfire jumps the highway' in run.stdout


@pytest.mark.parametrize(
    "arguments", [["--url", "http://gateway.example"], ["--grpc", "--target", "gateway.example:7070"]]
)
def test_main_with_a_key_for_another_machine_without_tls_sends_nothing(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(cli.API_KEY_VARIABLE, "secret")
    assert cli.main([*arguments, "a storm"]) == cli.EXIT_USAGE
    printed = capsys.readouterr().err
    assert "not encrypted" in printed
    assert "secret" not in printed


def test_main_over_grpc_with_tls_speaks_it(stub: StubServer, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--grpc", "--target", stub.grpc_target, "--retries", "0", "--timeout-s", "5", "a storm"]
    assert cli.main(["--tls", *arguments]) == cli.EXIT_SERVER_ERROR  # the stub speaks none
    assert cli.main(["--ca-file", "absent.pem", *arguments]) == cli.EXIT_USAGE
    assert "ca_file 'absent.pem' cannot be read" in capsys.readouterr().err
    assert cli.main(["--tls", "--url", stub.rest_url, "a storm"]) == cli.EXIT_USAGE
    assert stub.received == []
