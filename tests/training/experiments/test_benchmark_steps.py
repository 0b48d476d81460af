"""The step benchmark runs every way on the same classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.experiments import benchmark_steps
from training.experiments.benchmark_steps import WAYS, main


def test_main_prints_a_line_for_each_way(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark_steps, "resolve_base_encoder", lambda: tiny_base)
    threads = torch.get_num_threads()
    try:
        assert main(["--layers", "2", "--steps", "1", "--turns", "1", "--batch-size", "2"]) == 0
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[3:]] == list(WAYS)


def test_main_with_nonsense_is_refused(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark_steps, "resolve_base_encoder", lambda: tiny_base)
    assert main(["--layers", "7"]) == 1
    assert "num_hidden_layers is 7" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--turns", "0"])
