"""How samples of the two recorders are read and counted."""

from __future__ import annotations

from pathlib import Path

from benchmark.tune import profile_server


def test_stacks_of_py_spy_lose_line_numbers_and_those_that_wait_are_left_out(tmp_path: Path) -> None:
    working = "run (worker.py:10);handle (tweets_handler.py:20);0x7fa4 (libopenvino.so) 3"
    (tmp_path / "raw.txt").write_text(f"{working}\nrun (worker.py:10);recv (libc.so.6) 90\n")
    stacks = list(profile_server._py_spy_stacks(tmp_path / "raw.txt"))
    assert stacks == [["run (worker.py)", "handle (tweets_handler.py)", "(libopenvino.so)"]] * 3


def test_shares_count_a_function_once_a_stack() -> None:
    text = profile_server.shares([["a", "b"], ["a", "c", "a"], ["a", "b"], ["b"]])
    top, anywhere = text.split("\n\n")
    assert "| b | 75.0 % |" in top
    assert "| a | 25.0 % |" in top
    assert "| a | 75.0 % |" in anywhere
