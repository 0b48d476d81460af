"""Batches hold each row once, are tight, and can be taken up in the middle."""

from __future__ import annotations

import numpy as np
import torch

from training.batches import BucketedBatches

LENGTHS = np.random.default_rng(0).integers(3, 60, 333)
ENCODED = [[7] * length for length in LENGTHS]
TARGETS = [int(length % 2) for length in LENGTHS]


def _batches(**changes: object) -> BucketedBatches:
    return BucketedBatches(ENCODED, TARGETS, 16, **{"seed": 1, **changes})


def test_order_of_an_epoch_holds_each_row_once() -> None:
    batches = _batches()
    order = batches.order(0)
    assert sorted(row for rows in order for row in rows) == list(range(333))
    assert len(order) == len(batches) == 21


def test_order_differs_from_epoch_to_epoch_and_by_seed_only() -> None:
    assert _batches().order(0) == _batches().order(0)
    assert _batches().order(0) != _batches().order(1)
    assert _batches().order(0) != _batches(seed=2).order(0)


def test_order_has_little_padding() -> None:
    padded = sum(len(rows) * max(LENGTHS[row] for row in rows) for rows in _batches().order(0))
    assert padded / LENGTHS.sum() < 1.1
    shuffled = np.random.default_rng(1).permutation(333)
    unsorted = sum(LENGTHS[shuffled[start : start + 16]].max() * 16 for start in range(0, 333, 16))
    assert padded < 0.7 * unsorted


def test_iter_pads_to_the_longest_of_the_batch_and_masks_the_rest() -> None:
    for rows, batch in zip(_batches().order(0), _batches(), strict=True):
        lengths = torch.tensor([LENGTHS[row] for row in rows])
        assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(rows), int(lengths.max()))
        assert batch["input_ids"].dtype == batch["attention_mask"].dtype == batch["targets"].dtype == torch.int64
        assert torch.equal(batch["attention_mask"].sum(1), lengths)
        assert torch.equal(batch["input_ids"], 7 * batch["attention_mask"])
        assert batch["targets"].tolist() == [TARGETS[row] for row in rows]


def test_iter_from_a_later_step_goes_on_where_that_step_is() -> None:
    whole = [*_batches(step=lambda: 0), *_batches(step=lambda: 21)]
    for step in (5, 20, 21, 30):
        expected = whole[step : 21 if step < 21 else 42]
        found = list(_batches(step=lambda step=step: step))
        assert len(found) == len(expected)
        assert all(
            torch.equal(left["input_ids"], right["input_ids"]) for left, right in zip(found, expected, strict=True)
        )


def test_order_unshuffled_is_by_length() -> None:
    order = [row for rows in _batches(shuffle=False).order(0) for row in rows]
    assert (np.diff(LENGTHS[order]) >= 0).all()


def test_iter_gives_the_soft_targets_of_its_rows() -> None:
    soft = np.linspace(0, 1, 333, dtype=np.float32)
    batches = _batches(soft_targets=soft)
    for rows, batch in zip(batches.order(0), batches, strict=True):
        assert batch["soft_targets"].tolist() == soft[rows].tolist()
    assert "soft_targets" not in next(iter(_batches()))
