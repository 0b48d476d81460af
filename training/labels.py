"""The one table that maps every collection's own labels to `disaster` (1) and `not_disaster` (0), and its soft form."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

KAGGLE = "kaggle"
T6 = "crisislex_t6"
T26 = "crisislex_t26"

# None: the row says nothing about the question and is left out.
# T26 asks whether a tweet is about the crisis and whether it informs; only the first is our question.
# Source of the labels: Kaggle competition nlp-getting-started; Olteanu et al. 2014 (T6), 2015 (T26).
LABEL_MAP: Mapping[str, Mapping[str, int | None]] = MappingProxyType(
    {
        KAGGLE: {"1": 1, "0": 0},
        T6: {"on-topic": 1, "off-topic": 0},
        T26: {
            "Related and informative": 1,
            "Related - but not informative": 1,
            "Not related": 0,
            "Not applicable": None,
        },
    }
)


def soft_targets(table: pd.DataFrame) -> pd.Series:
    """Return how likely the crowd thinks `disaster` for each row: a target to learn from instead of 0 or 1.

    A row labelled 1 gets the share of workers behind its label, a row labelled 0 the rest of one; a row without that
    share gets its label. Rows with equal texts get their mean, contradictions included, as they share one label in
    `training.splits.to_learn_from`. The share is of all workers, some of whom could not decide, so a few rows lie on
    the other side of 0.5 than their label.

    Args:
        table: prepared rows with their own labels: `target`, `agreement`, `normalised`; before `to_learn_from`.

    Returns:
        float64 in [0, 1], with the table's index; name `soft_target`.
    """
    target = table["target"].astype("float64")
    behind = table["agreement"].astype("float64")
    own = behind.where(target == 1, 1 - behind).fillna(target)
    return own.groupby(table["normalised"]).transform("mean").rename("soft_target")
