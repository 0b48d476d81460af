"""What a text is to be scored by people and by a teacher, where a label alone says too much.

A label is what most of the crowd said. How many said it is worth more than the label, and a teacher that has not read
the text tells whether the crowd's answer is one that can be learnt at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.errors import DatasetError


def crowd_shares(rows: pd.DataFrame) -> dict[str, float]:
    """Return p(disaster) by the crowd for each normalised text whose rows tell their agreement.

    The share of the crowd behind the row's own label, turned towards `disaster`; the mean over rows with equal texts.

    Args:
        rows: prepared rows with own labels, all rows of a text among them.

    Source: agreement as in the crowd's own file ("Disasters on social media", Figure Eight).
    """
    known = rows[rows["agreement"].notna()]
    shares = known["agreement"].where(known["target"] == 1, 1.0 - known["agreement"])
    means = shares.astype("float64").groupby(known["normalised"]).mean()
    return {str(text): float(share) for text, share in means.items()}


def soft_targets(
    rows: pd.DataFrame,
    crowd: Mapping[str, float],
    agreement_weight: float,
    teacher: Mapping[str, float] | None = None,
    teacher_weight: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Return the p(disaster) to learn for each row, NaN where there is nothing but the label.

    Args:
        rows: what is trained on, one row a text.
        crowd: normalised text -> share, as `crowd_shares` returns it.
        agreement_weight: of the crowd's share against the label, in [0, 1].
        teacher: id -> p(disaster) by a model that has not read the row's group.
        teacher_weight: of the teacher against the rest, in [0, 1].

    Returns:
        (rows,) float32.

    Raises:
        DatasetError: a weight is no share, or a teacher is weighed and has scored none of the rows.

    Source: Hinton et al. 2015, arXiv:1503.02531 (soft targets of a teacher, here at temperature 1).
    """
    for name, weight in (("agreement_weight", agreement_weight), ("teacher_weight", teacher_weight)):
        if not 0.0 <= weight <= 1.0:
            raise DatasetError(f"{name} is {weight}; expected a share from 0 to 1")
    labels = rows["target"].to_numpy(dtype=np.float64)
    targets = np.full(len(rows), np.nan)
    if agreement_weight:
        shares = np.array([crowd.get(text, np.nan) for text in rows["normalised"]])
        targets = (1.0 - agreement_weight) * labels + agreement_weight * shares
    if teacher_weight:
        scores = np.array([(teacher or {}).get(identity, np.nan) for identity in rows["id"]])
        if np.isnan(scores).all():
            raise DatasetError(
                f"the teacher has scored none of {len(rows)} rows; expected those of this very training part; remove "
                "its folder and train again"
            )
        mixed = (1.0 - teacher_weight) * np.where(np.isnan(targets), labels, targets) + teacher_weight * scores
        targets = np.where(np.isnan(scores), targets, mixed)
    return targets.astype(np.float32)
