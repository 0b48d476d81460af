"""Batches hold each row once, are tight, and can be taken up in the middle."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from training.data.batches import BucketedBatches
from training.errors import TrainingError

LENGTHS = np.random.default_rng(0).integers(3, 60, 333)
ENCODED = [[7] * length for length in LENGTHS]
TARGETS = [int(length % 2) for length in LENGTHS]

# One of two processes of one training: an all-reduce in each step, which hangs when one has fewer steps.
GLOO = """
import json, sys
import torch
import torch.distributed as dist
from training.data.batches import BucketedBatches

rank = int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
encoded = [[row] * (1 + row % 17) for row in range(101)]
batches = BucketedBatches(encoded, [0] * 101, 8, seed=4, rank=dist.get_rank(), world_size=dist.get_world_size())
rows, gradients = [], []
for batch in batches:
    rows += batch["input_ids"][:, 0].tolist()
    gradient = torch.ones(1)
    dist.all_reduce(gradient)
    gradients.append(float(gradient) / 2)
found = [None, None]
dist.all_gather_object(found, {"rows": rows, "steps": len(gradients)})
print(json.dumps({
    "rows": found[0]["rows"] + found[1]["rows"],
    "steps": [part["steps"] for part in found],
    "gradient": sum(gradients) / len(gradients),
}))
dist.destroy_process_group()
"""


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


@pytest.mark.parametrize("world_size", [2, 3, 4, 7])
@pytest.mark.parametrize("shuffle", [True, False])
def test_order_of_several_processes_holds_each_row_once_in_equally_many_batches(world_size: int, shuffle: bool) -> None:
    shards = [_batches(rank=rank, world_size=world_size, shuffle=shuffle) for rank in range(world_size)]
    orders = [shard.order(2) for shard in shards]
    assert sorted(row for order in orders for rows in order for row in rows) == list(range(333))
    assert {len(order) for order in orders} == {len(shard) for shard in shards} == {-(-21 // world_size)}
    assert all(1 <= len(rows) <= 16 for order in orders for rows in order)


def test_order_of_several_processes_has_batches_of_about_equal_length_in_a_step() -> None:
    shards = [_batches(rank=rank, world_size=4).order(0) for rank in range(4)]
    longest = np.array([[max(LENGTHS[row] for row in rows) for rows in order] for order in shards])
    alone = np.array([max(LENGTHS[row] for row in rows) for rows in _batches().order(0)])
    assert np.ptp(longest, axis=0).mean() < 0.3 * np.ptp(alone)


def test_order_of_one_process_is_what_it_was_before_there_could_be_several() -> None:
    # The committed model was trained in this order; another would be another model.
    digest = hashlib.sha256(json.dumps([_batches().order(epoch) for epoch in range(2)]).encode()).hexdigest()
    assert digest == "1fead548e010293ed5e31eca3bb4d292547b3e708dce4a3a03cc31dbe1d274fc"


def test_batches_of_fewer_rows_than_processes_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 rows for 1 steps of 3 processes"):
        BucketedBatches(ENCODED[:2], TARGETS[:2], 16, world_size=3)


def test_batches_of_two_gloo_processes_share_the_rows(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GLOO, str(tmp_path / "rendezvous")]
    processes = [
        subprocess.Popen([*command, str(rank)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    gathered = [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    assert gathered[0] == gathered[1]  # both were told the same by the other
    assert sorted(gathered[0]["rows"]) == list(range(101))
    assert gathered[0]["steps"] == [7, 7]
    assert gathered[0]["gradient"] == pytest.approx(1.0)


def test_iter_gives_the_soft_targets_of_its_rows() -> None:
    soft = np.linspace(0, 1, 333, dtype=np.float32)
    batches = _batches(soft_targets=soft)
    for rows, batch in zip(batches.order(0), batches, strict=True):
        assert batch["soft_targets"].tolist() == soft[rows].tolist()
    assert "soft_targets" not in next(iter(_batches()))
