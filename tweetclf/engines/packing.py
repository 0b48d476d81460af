"""Lay the tokens of a micro-batch out for an engine: padded to a grid, or packed with index tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MASKED_BIAS = -1e9  # added to an attention score: exp of it is 0 in float32, whatever the score


class Packed(NamedTuple):
    """All tokens of a micro-batch in one row, and where each lies in the grid that attention works on.

    The fields are the inputs of the int8 network, in order (export/packed.py, `PackedNetwork`).

    Args:
        input_ids: (packed,) int32; filled up behind the last tweet with id 0.
        position_ids: (packed,) int32, position of each token within its tweet.
        packed_row_of_cell: (batch, tokens) int32, row in `input_ids` of each cell; 0 where nothing lies.
        cell_of_token: (packed,) int32, cell of each token, counted along the rows; 0 for what was filled up.
        bias: (batch, 1, 1, tokens) float32, 0 where a token lies, else MASKED_BIAS.
        weights: (batch, tokens, 1) float32, 1 / length of the tweet where a token lies, else 0.
    """

    input_ids: npt.NDArray[np.int32]
    position_ids: npt.NDArray[np.int32]
    packed_row_of_cell: npt.NDArray[np.int32]
    cell_of_token: npt.NDArray[np.int32]
    bias: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]


def pack(rows: Sequence[Sequence[int]], packed_step: int = 1, length_step: int = 1) -> Packed:
    """Pack token ids.

    Args:
        rows: ids of each tweet, at least one tweet, each of at least one token.
        packed_step: the packed row is filled up to a multiple of it, so that few shapes occur.
        length_step: the grid's width is a multiple of it.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int32)
    real = int(lengths.sum())
    width = _up(int(lengths.max()), length_step)
    total = _up(real, packed_step)
    filled = np.arange(width, dtype=np.int32) < lengths[:, None]  # (batch, tokens)
    input_ids = np.zeros(total, dtype=np.int32)
    input_ids[:real] = [token for row in rows for token in row]
    cell_of_token = np.zeros(total, dtype=np.int32)
    cell_of_token[:real] = np.flatnonzero(filled)
    packed_row_of_cell = np.zeros(filled.shape, dtype=np.int32)
    packed_row_of_cell[filled] = np.arange(real, dtype=np.int32)
    position_ids = np.zeros(total, dtype=np.int32)
    position_ids[:real] = cell_of_token[:real] % width
    bias = np.where(filled, np.float32(0), np.float32(MASKED_BIAS))[:, None, None, :]
    weights = (filled / lengths[:, None].astype(np.float32))[:, :, None]
    return Packed(
        input_ids, position_ids, packed_row_of_cell, cell_of_token, bias, weights.astype(np.float32, copy=False)
    )


def pad(rows: Sequence[Sequence[int]], length_step: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (input_ids, attention_mask), both (batch, tokens) int64, filled up on the right with 0.

    Args:
        rows: ids of each tweet, at least one tweet.
        length_step: the width is a multiple of it.
    """
    lengths = [len(row) for row in rows]
    ids = np.zeros((len(rows), _up(max(lengths), length_step)), dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : lengths[index]] = row
        mask[index, : lengths[index]] = 1
    return ids, mask


def _up(number: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-number // step) * step
