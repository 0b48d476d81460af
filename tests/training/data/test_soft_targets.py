"""Soft targets turn agreement towards `disaster`, weigh a teacher, and leave bare labels alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from training.data.soft_targets import crowd_shares, soft_targets
from training.errors import DatasetError

ROWS = pd.DataFrame(
    {
        "id": ["a", "b", "c", "d"],
        "normalised": ["dam breaks", "nice hat", "bus crash", "bus crash"],
        "target": [1, 0, 1, 0],
        "agreement": [0.8, 0.9, 1.0, 0.6],
    }
)


def test_crowd_shares_are_turned_towards_disaster_and_averaged_over_equal_texts() -> None:
    assert crowd_shares(ROWS) == pytest.approx({"dam breaks": 0.8, "nice hat": 0.1, "bus crash": (1.0 + 0.4) / 2})


def test_crowd_shares_without_agreement_are_none() -> None:
    assert crowd_shares(ROWS.assign(agreement=np.nan)) == {}


def test_soft_targets_mix_label_crowd_and_teacher_by_their_weights() -> None:
    rows = ROWS.iloc[:2]
    crowd = crowd_shares(ROWS)
    assert np.isnan(soft_targets(rows, crowd, 0.0)).all()
    assert soft_targets(rows, crowd, 1.0) == pytest.approx([0.8, 0.1])
    assert soft_targets(rows, crowd, 0.5) == pytest.approx([0.9, 0.05])
    taught = soft_targets(rows, crowd, 1.0, {"a": 0.6}, 0.5)
    assert taught == pytest.approx([0.7, 0.1])  # the teacher has not scored b
    assert taught.dtype == np.float32
    assert soft_targets(rows, crowd, 0.0, {"a": 0.6}, 0.5)[0] == pytest.approx(0.8)


def test_soft_targets_of_rows_without_agreement_are_left_to_the_label() -> None:
    found = soft_targets(ROWS.iloc[:2], {"dam breaks": 0.8}, 1.0)
    assert found[0] == pytest.approx(0.8)
    assert np.isnan(found[1])


@pytest.mark.parametrize(("agreement", "teacher"), [(1.1, 0.0), (0.0, -0.1)])
def test_soft_targets_of_a_weight_that_is_no_share_are_refused(agreement: float, teacher: float) -> None:
    with pytest.raises(DatasetError, match="expected a share from 0 to 1"):
        soft_targets(ROWS, {}, agreement, {}, teacher)


def test_soft_targets_of_a_teacher_of_other_rows_are_refused() -> None:
    with pytest.raises(DatasetError, match="scored none of 4 rows"):
        soft_targets(ROWS, {}, 0.0, {"elsewhere": 0.5}, 0.5)
