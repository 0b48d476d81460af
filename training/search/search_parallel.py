"""Draw the trials of a search as lines through one axis a setting: parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, json_to_distribution

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


@dataclass(frozen=True)
class Axis:
    """One setting as a height in [0, 1].

    Args:
        distribution: what it was drawn from; choices lie at equal distances, a logarithmic range is logarithmic here.
    """

    distribution: Distribution

    def height(self, value: Any) -> float:
        """Return where a value lies."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices.index(value) / max(1, len(self.distribution.choices) - 1)
        low, high, value = (self._scaled(number) for number in (self.distribution.low, self.distribution.high, value))
        return (value - low) / (high - low) if high > low else 0.5

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Return heights with labels: every choice, or both ends of a range."""
        if isinstance(self.distribution, CategoricalDistribution):
            return [(self.height(choice), str(choice)) for choice in self.distribution.choices]
        low, high = self.distribution.low, self.distribution.high
        return [(self.height(low), f"{low:g}"), (self.height(high), f"{high:g}")]

    def _scaled(self, value: float) -> float:
        return float(np.log(value)) if getattr(self.distribution, "log", False) else float(value)


def draw_parallel(figure: Figure, trials: Sequence[Mapping[str, Any]], metric: str, space: Mapping[str, str]) -> None:
    """Draw each trial as a line, coloured by its value; the best is drawn last and thick.

    Args:
        figure: empty.
        trials: entries of search.json that are complete.
        metric: its name.
        space: path of a setting -> its distribution, as Optuna's JSON.
    """
    axes = figure.add_subplot()
    settings = {path: Axis(cast(Distribution, json_to_distribution(text))) for path, text in space.items()}
    values = [float(trial["value"]) for trial in trials]
    colours = ScalarMappable(Normalize(min(values), max(values)), matplotlib.colormaps["viridis"])
    places = range(len(settings))
    best = trials[values.index(max(values))]  # the first of equal ones, as Optuna counts
    for trial in sorted(trials, key=lambda trial: (float(trial["value"]), trial is best)):
        heights = [axis.height(trial["settings"][path]) for path, axis in settings.items()]
        axes.plot(
            places, heights, "o-", color=colours.to_rgba(trial["value"]), linewidth=2.6 if trial is best else 1.1, ms=3
        )
    for place, axis in zip(places, settings.values(), strict=True):
        axes.axvline(place, color="0.6", linewidth=0.8, zorder=0)
        for height, text in axis.marks:
            axes.annotate(text, (place, height), xytext=(3, 3), textcoords="offset points", fontsize=7)
    # The group of a setting is told by its last two names at most: "learning.learning_rate".
    axes.set_xticks(places, [".".join(path.split(".")[-2:]).replace(".", ".\n") for path in settings], fontsize=8)
    axes.set(yticks=(), ylim=(-0.06, 1.1), title=f"Search: settings of {len(trials)} complete trials, the best thick")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    figure.colorbar(colours, ax=axes, label=metric)
