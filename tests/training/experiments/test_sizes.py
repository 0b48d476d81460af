"""Sizes are compared by what they cost and how good they are; a finished training is not repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.experiments import sizes as module
from training.experiments.sizes import mflop, sizes, sizes_table, smallest_good
from training.learning.settings import Settings


def _row(name: str, cost: float, f1: float, auc: float) -> dict[str, object]:
    return {"name": name, "mflop_a_tweet": cost, "f1": f1, "roc_auc": auc}


@pytest.mark.parametrize(
    ("small", "chosen"),
    [((0.818, 0.900), "small"), ((0.816, 0.900), "large"), ((0.818, 0.894), "large"), ((0.830, 0.910), "small")],
)
def test_smallest_good_is_within_both_margins_of_the_best(small: tuple[float, float], chosen: str) -> None:
    assert smallest_good([_row("large", 600, 0.82, 0.90), _row("small", 200, *small)]) == chosen


def test_smallest_good_of_two_that_lead_in_one_figure_each_is_the_one_with_the_better_f1() -> None:
    assert smallest_good([_row("ranks", 200, 0.80, 0.92), _row("decides", 600, 0.83, 0.90)]) == "decides"


def test_mflop_counts_layers_and_tokens(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 384, "intermediate_size": 1536}))
    # 6 layers and 33.5 tokens: 722 MFLOP by a count of its own (docs/log/2026-11.md#which-size).
    assert mflop(tmp_path, 6, 33.5) == pytest.approx(722, rel=0.01)
    assert mflop(tmp_path, 3, 33.5) == pytest.approx(mflop(tmp_path, 6, 33.5) / 2)


def test_sizes_trains_each_size_once_and_keeps_what_is_finished(
    tiny_settings: Callable[..., Settings], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_settings("trainer.max_epochs=1")
    report = sizes(settings, [1, 2], [0], tmp_path / "out", tiny_base)
    assert [row["name"] for row in report["rows"]] == ["1 layers", "2 layers"]
    assert report["rows"][1]["mflop_a_tweet"] == pytest.approx(2 * report["rows"][0]["mflop_a_tweet"], abs=0.2)
    assert (tmp_path / "out" / "sizes.png").read_bytes().startswith(b"\x89PNG")
    assert "1 layers" in sizes_table(report)

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train", never)
    assert sizes(settings, [1, 2], [0], tmp_path / "out", tiny_base) == report
