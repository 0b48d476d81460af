"""Tokens are laid out so that every table points at the token it should."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tweetclf.engines.packing import MASKED_BIAS, pack, pad


def random_rows(tweets: int, seed: int) -> list[list[int]]:
    source = random.Random(seed)
    return [[source.randrange(1, 100) for _ in range(source.randrange(1, 40))] for _ in range(tweets)]


@pytest.mark.parametrize(("packed_step", "length_step"), [(1, 1), (16, 16), (512, 64)])
@pytest.mark.parametrize("tweets", [1, 2, 17])
def test_pack_of_random_rows_finds_every_token_again(tweets: int, packed_step: int, length_step: int) -> None:
    rows = random_rows(tweets, seed=tweets)
    packed = pack(rows, packed_step, length_step)
    lengths = np.array([len(row) for row in rows])
    assert len(packed.input_ids) % packed_step == 0
    assert packed.packed_row_of_cell.shape[1] % length_step == 0
    ids, mask = pad(rows, length_step)
    filled = mask.astype(bool)
    assert np.array_equal(packed.input_ids[packed.packed_row_of_cell][filled], ids[filled])
    real = int(lengths.sum())
    assert np.array_equal(ids.reshape(-1)[packed.cell_of_token[:real]], packed.input_ids[:real])
    assert np.array_equal(packed.position_ids[packed.packed_row_of_cell][filled], np.nonzero(filled)[1])
    assert np.array_equal(packed.bias[:, 0, 0] == MASKED_BIAS, ~filled)
    assert np.allclose(packed.weights.sum((1, 2)), 1)
    assert np.array_equal(packed.weights[..., 0] > 0, filled)


def test_pack_fills_up_with_indices_that_exist() -> None:
    packed = pack([[7], [8, 9]], packed_step=16, length_step=8)
    assert packed.input_ids.tolist() == [7, 8, 9, *[0] * 13]
    assert packed.cell_of_token.tolist() == [0, 8, 9, *[0] * 13]
    assert 0 <= packed.packed_row_of_cell.min() <= packed.packed_row_of_cell.max() < 16


def test_pack_types_are_those_of_the_network() -> None:
    packed = pack([[7]])
    assert [field.dtype for field in packed] == [np.int32] * 4 + [np.float32] * 2
    assert [field.shape for field in packed] == [(1,), (1,), (1, 1), (1,), (1, 1, 1, 1), (1, 1, 1)]


def test_pad_fills_up_on_the_right() -> None:
    ids, mask = pad([[5, 6, 7], [8]], length_step=4)
    assert ids.tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
