"""Block masks: which blocks of a weight matrix are kept."""

from __future__ import annotations

import numpy as np
import pytest

from finn_vitprune.block_mask import BlockMask, attention_masks


def test_kept_blocks_are_those_with_a_non_zero_entry():
    weights = np.zeros((12, 10), dtype=int)
    weights[11, 9] = -1  # in the block that padding fills up
    weights[0, 3] = 5
    assert BlockMask.of(weights, 8).grid.tolist() == [[True, False], [False, True]]
    assert BlockMask.of(np.zeros((16, 8)), 8).grid.tolist() == [[False], [False]]


@pytest.mark.parametrize("rows, columns, block", [(8, 8, 4), (7, 10, 4), (3, 3, 8), (16, 4, 2)])
def test_elements_are_those_of_blocks_that_are_not_zero(rows, columns, block):
    rng = np.random.default_rng(rows)
    matrix = (rng.random((rows, columns)) < 0.15) * rng.integers(-9, 9, (rows, columns))
    matrix[-1, -1] = 1
    by_hand = sum(
        part.size for r in range(0, rows, block) for c in range(0, columns, block) if (part := matrix[r : r + block, c : c + block]).any()
    )
    assert BlockMask.of(matrix, block).elements(matrix.shape) == by_hand


def test_a_mask_packs_and_unpacks():
    mask = BlockMask(np.random.default_rng(3).random((5, 7)) < 0.5, 8)
    assert BlockMask.unpack(mask.pack(), 8) == mask
    other = mask.grid.copy()
    other[4, 6] ^= True
    assert BlockMask(other, 8) != mask and BlockMask(mask.grid, 4) != mask


def test_the_first_block_is_the_highest_bit_of_the_map():
    grid = np.zeros((2, 5), bool)
    grid[0, 0] = grid[1, 4] = True
    assert BlockMask(grid, 4).pack() == {"rows": 2, "columns": 5, "map": "8040"}


def test_counts_are_by_block_column():
    mask = BlockMask(np.array([[1, 0, 1], [1, 0, 0]], bool), 4)
    assert (mask.column_counts, mask.kept) == ([2, 0, 1], 3)


def test_masks_of_an_encoder_are_those_of_its_transposed_weights():
    qkv, proj = np.zeros((12, 8)), np.zeros((8, 4))
    qkv[0, 0] = qkv[4, 7] = proj[5, 0] = 1  # W_q, W_k, W_proj; W_v is zero
    masks = attention_masks(2, qkv, proj, 4)
    assert {name: m.grid.tolist() for name, m in masks.items()} == {
        "blocks.2.q": [[True], [False]],
        "blocks.2.k": [[False], [True]],
        "blocks.2.v": [[False], [False]],
        "blocks.2.proj": [[False, True]],
    }
