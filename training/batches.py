"""Batches of tweets of about the same length, in an order that a resumed run can take up where it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from training.encoding import pad

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

    Args:
        encoded: token ids of each row.
        targets: label of each row, 0 or 1.
        batch_size: rows a batch; the last of an epoch may be smaller.
        seed: of the order.
        step: returns the number of batches read so far, over all epochs; None reads in one pass from the start.
        shuffle: False keeps to ascending length, for evaluation.
        soft_targets: p(disaster) to learn for each row, NaN where only the label counts; None has none.

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
    ) -> None:
        self._encoded = encoded
        self._targets = targets
        self._batch_size = batch_size
        self._seed = seed
        self._step = step or (lambda: 0)
        self._shuffle = shuffle
        self._soft_targets = None if soft_targets is None else torch.as_tensor(soft_targets, dtype=torch.float32)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self._encoded) // self._batch_size)

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
        """Return the row numbers of each batch of an epoch; each row exactly once."""
        lengths = np.array([len(ids) for ids in self._encoded])
        if not self._shuffle:
            return self._cut(np.argsort(lengths, kind="stable"))
        generator = np.random.default_rng([self._seed, epoch])
        rows = generator.permutation(len(lengths))
        chunk = CHUNK_BATCHES * self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            batches += self._cut(part[np.argsort(lengths[part], kind="stable")])
        return [batches[position] for position in generator.permutation(len(batches))]

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

    def _cut(self, rows: np.ndarray) -> list[list[int]]:
        return [rows[start : start + self._batch_size].tolist() for start in range(0, len(rows), self._batch_size)]
