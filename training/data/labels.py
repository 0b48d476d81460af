"""The one table that maps every collection's own labels to `disaster` (1) and `not_disaster` (0)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
