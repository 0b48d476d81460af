"""Labels map to targets in one table, and soften by crowd agreement."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from training.labels import KAGGLE, LABEL_MAP, T6, T26, soft_targets


def test_label_map_answers_whether_a_tweet_is_about_a_disaster() -> None:
    assert LABEL_MAP[KAGGLE] == {"1": 1, "0": 0}
    assert LABEL_MAP[T6] == {"on-topic": 1, "off-topic": 0}
    assert [LABEL_MAP[T26][label] for label in ("Related - but not informative", "Not related")] == [1, 0]
    assert LABEL_MAP[T26]["Not applicable"] is None


def _table(rows: list[tuple[str, int, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["normalised", "target", "agreement"], index=range(10, 10 + len(rows)))
    return table.astype({"target": "int8", "agreement": "float32"})


def test_soft_targets_are_agreement_for_positives_and_the_rest_of_one_for_negatives() -> None:
    found = soft_targets(_table([("a", 1, 0.8), ("b", 0, 0.7), ("c", 1, 0.34), ("d", 0, 1.0)]))
    assert found.to_numpy() == pytest.approx([0.8, 0.3, 0.34, 0.0], abs=1e-6)
    assert found.index.tolist() == [10, 11, 12, 13]
    assert found.dtype == np.float64


def test_soft_targets_without_agreement_are_the_labels() -> None:
    assert soft_targets(_table([("a", 1, np.nan), ("b", 0, np.nan)])).tolist() == [1.0, 0.0]


def test_soft_targets_of_equal_texts_are_their_mean() -> None:
    found = soft_targets(_table([("a", 1, 0.9), ("b", 1, 1.0), ("a", 0, 0.6), ("a", 1, np.nan)]))
    assert found.to_numpy() == pytest.approx([(0.9 + 0.4 + 1) / 3, 1.0, (0.9 + 0.4 + 1) / 3, (0.9 + 0.4 + 1) / 3])
