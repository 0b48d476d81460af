"""Settings lie where their distributions say, and each trial is one line."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from training.search.search_parallel import Axis, Distribution, draw_parallel


@pytest.mark.parametrize(
    ("distribution", "value", "height"),
    [
        (FloatDistribution(1e-4, 1e-2, log=True), 1e-3, 0.5),
        (FloatDistribution(0.0, 0.2), 0.05, 0.25),
        (IntDistribution(2, 6), 6, 1.0),
        (IntDistribution(3, 3), 3, 0.5),
        (CategoricalDistribution((0.0, 0.98, 0.995)), 0.98, 0.5),
        (CategoricalDistribution(("only",)), "only", 0.0),
    ],
)
def test_height_follows_the_distribution(distribution: Distribution, value: object, height: float) -> None:
    assert Axis(distribution).height(value) == pytest.approx(height)


def test_marks_are_every_choice_or_both_ends() -> None:
    assert Axis(CategoricalDistribution((16, 32, 64))).marks == [(0.0, "16"), (0.5, "32"), (1.0, "64")]
    assert [text for _, text in Axis(FloatDistribution(3e-5, 5e-4, log=True)).marks] == ["3e-05", "0.0005"]


def test_draw_parallel_draws_a_line_a_trial_through_every_setting_and_the_best_last() -> None:
    space = {
        "model.learning.learning_rate": distribution_to_json(FloatDistribution(1e-4, 1e-2, log=True)),
        "callbacks.ema_decay": distribution_to_json(CategoricalDistribution((0.0, 0.99))),
    }
    rates = (1e-4, 1e-3, 1e-2, 1e-3)
    trials = [
        {"value": value, "settings": {"model.learning.learning_rate": rate, "callbacks.ema_decay": 0.99}}
        for value, rate in zip((0.9, 0.9, 0.8, 0.6), rates, strict=True)
    ]
    figure = Figure()
    draw_parallel(figure, trials, "dev f1", space)
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in lines] == [
        [pytest.approx(0.5), 1.0],
        [pytest.approx(1.0), 1.0],
        [pytest.approx(0.5), 1.0],
        [pytest.approx(0.0), 1.0],
    ]
    assert [line.get_linewidth() > 2 for line in lines] == [False, False, False, True]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "learning.\nlearning_rate",
        "callbacks.\nema_decay",
    ]
