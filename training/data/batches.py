"""Batches of tweets of about the same length, in an order that a resumed run can take up where it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from training.data.encoding import pad
from training.errors import TrainingError

Batch = dict[str, torch.Tensor]
CHUNK_BATCHES = 50


class BucketedBatches:
    """Iterable of padded batches; serves as a data loader of Lightning.

    Rows are shuffled, sorted by length within chunks of 50 batches, cut into batches, and the batches are
    shuffled: little padding, and the order still differs from epoch to epoch. Each batch is
    `{"input_ids", "attention_mask"}` (batch, tokens) int64, `{"targets"}` (batch,) int64 and, where there are any,
    `{"soft_targets"}` (batch,) float32.

    The order is a function of (seed, step) alone, so a run resumed at step n reads the batches that an
    uninterrupted one would have read from there.

    Several processes that train one model together each read their own batches of every step: all rows once, equally
    many steps for each, and batches of about equal length in a step, since all wait for the longest. Where the number
    of batches does not go up, the largest are halved; a row of a smaller batch then weighs a little more.

    Args:
        encoded: token ids of each row.
        targets: label of each row, 0 or 1.
        batch_size: rows a batch; the last of an epoch may be smaller.
        seed: of the order.
        step: returns the number of batches read so far, over all epochs; None reads in one pass from the start.
        shuffle: False keeps to ascending length, for evaluation.
        soft_targets: p(disaster) to learn for each row, NaN where only the label counts; None has none.
        rank: of this process, from 0.
        world_size: processes that read together.

    Raises:
        TrainingError: there are too few rows for the processes.

    Source: bucketing by length within chunks as in `transformers` (group_by_length).
    """

    def __init__(
        self,
        encoded: Sequence[Sequence[int]],
        targets: Sequence[int],
        batch_size: int,
        seed: int = 0,
        step: Callable[[], int] | None = None,
        shuffle: bool = True,
        soft_targets: Sequence[float] | npt.NDArray[np.float32] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._encoded = encoded
        self._targets = targets
        self._batch_size = batch_size
        self._seed = seed
        self._step = step or (lambda: 0)
        self._shuffle = shuffle
        self._soft_targets = None if soft_targets is None else torch.as_tensor(soft_targets, dtype=torch.float32)
        self._rank = rank
        self._world_size = world_size
        if len(encoded) < len(self) * world_size:
            raise TrainingError(
                f"{len(encoded)} rows for {len(self)} steps of {world_size} processes; expected one for each at least; "
                "train with fewer processes or larger batches"
            )

    def __len__(self) -> int:
        """Return the number of batches that this process reads in an epoch; the same for all."""
        return -(-len(self._encoded) // (self._batch_size * self._world_size))

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the epoch that the current step lies in."""
        epoch, start = divmod(self._step(), len(self))
        for rows in self.order(epoch)[start:]:
            input_ids, attention_mask = pad([self._encoded[row] for row in rows])
            targets = torch.tensor([self._targets[row] for row in rows], dtype=torch.int64)
            batch = {"input_ids": input_ids, "attention_mask": attention_mask, "targets": targets}
            if self._soft_targets is not None:
                batch["soft_targets"] = self._soft_targets[rows]
            yield batch

    def order(self, epoch: int) -> list[list[int]]:
        """Return the row numbers of each batch of an epoch that this process reads.

        Over all processes: each row exactly once.
        """
        return [step[self._rank] for step in self._steps(epoch)]

    def _steps(self, epoch: int) -> list[list[list[int]]]:
        """Return the batches of each step, one for each process."""
        lengths = np.array([len(ids) for ids in self._encoded])
        if not self._shuffle:
            return self._shared(self._cut(np.argsort(lengths, kind="stable")))
        generator = np.random.default_rng([self._seed, epoch])
        rows = generator.permutation(len(lengths))
        chunk = CHUNK_BATCHES * self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            batches += self._cut(part[np.argsort(lengths[part], kind="stable")])
        steps = self._shared(batches)
        return [steps[position] for position in generator.permutation(len(steps))]

    def from_step(self, step: Callable[[], int]) -> BucketedBatches:
        """Return the same batches, read from where `step` says."""
        batches = copy.copy(self)
        batches._step = step
        return batches

    def state_dict(self) -> dict[str, int]:
        """Return nothing: the trainer's step is the whole state. Tells Lightning that resuming is exact."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Accept what `state_dict` returned."""

    def _shared(self, batches: list[list[int]]) -> list[list[list[int]]]:
        """Return neighbouring batches as steps, after halving as many of the largest as fill the last step."""
        world = self._world_size
        while len(batches) < len(self) * world:
            largest = max(range(len(batches)), key=lambda place: len(batches[place]))
            rows = batches[largest]
            batches[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        return [batches[start : start + world] for start in range(0, len(batches), world)]

    def _cut(self, rows: np.ndarray) -> list[list[int]]:
        return [rows[start : start + self._batch_size].tolist() for start in range(0, len(rows), self._batch_size)]
