"""Block masks of the benchmark, bool [rows, columns]: seeded, with exactly the kept share of blocks."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import gcd
from pathlib import Path

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.errors import UserError
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.graph.reading import read_model
from finn_vitprune.pruning.config import kept_blocks
from finn_vitprune.pruning.scores import top_k_mask

DENSE = "dense"
KINDS = ("uniform", "balanced", "uneven", "trained")
"""Uniform random; equally many blocks for each lane; uneven columns; those of a trained model."""

BETA = 1.5
"""Both shapes of the beta distribution of column densities (uneven)."""


def draw(kind: str, grid: tuple[int, int], keep: float, number: int, lanes: int, trained: Sequence[np.ndarray]) -> list[np.ndarray]:
    """``number`` masks of one kind; the same arguments give the same masks.

    Args:
        kind: one of :data:`KINDS`, or ``dense``, of which there is one.
        grid: block rows and block columns.
        keep: kept share of blocks; int(keep n) of n blocks are kept, at least one.
        lanes: lanes of the unit, for "balanced".
        trained: masks of a trained model (:func:`load`), for "trained".
    """
    count = kept_blocks(keep, grid[0] * grid[1])
    if kind == DENSE:
        return [np.ones(grid, bool)]
    masks = []
    for i in range(number):
        rng = np.random.default_rng(zlib.crc32(f"{kind} {grid} {keep} {i}".encode()))
        if kind == "uniform":
            masks.append(trim(np.zeros(grid, bool), count, rng))
        elif kind == "balanced":
            masks.append(balanced(grid, count, lanes, rng))
        elif kind == "uneven":
            masks.append(uneven(grid, count, rng))
        else:
            masks.append(trim(tiled(trained[i % len(trained)], grid, rng), count, rng))
    return masks


def balanced(grid: tuple[int, int], count: int, lanes: int, rng: np.random.Generator) -> np.ndarray:
    """Random scores, the largest of each group of neighbouring columns kept, as training with ``lanes`` does.

    The groups are as many as divide both lanes and columns.
    """
    scores = torch.from_numpy(rng.random(grid[::-1]))
    return top_k_mask(scores, count, gcd(lanes, grid[1])).numpy().T > 0


def uneven(grid: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Densities of the columns from a beta distribution, scaled to ``count`` blocks; rows at random."""
    rows, columns = grid
    mask = np.zeros(grid, bool)
    for column, kept in enumerate(column_counts(rng.beta(BETA, BETA, columns), rows, count)):
        mask[rng.permutation(rows)[:kept], column] = True
    return mask


def column_counts(densities: np.ndarray, rows: int, count: int) -> np.ndarray:
    """Kept blocks of each column, int ``[columns]``: ``count`` in all, in proportion to ``densities``.

    Columns that would exceed ``rows`` are full, and the others share what is left; fractions round to the
    largest remainders.
    """
    shares = np.zeros(len(densities))
    full = np.zeros(len(densities), bool)
    while True:
        rest = count - rows * full.sum()
        shares[full] = rows
        shares[~full] = densities[~full] * rest / max(densities[~full].sum(), 1e-12)
        if not (shares > rows).any():
            break
        full |= shares >= rows
    counts = np.floor(shares).astype(int)
    order = np.argsort(counts - shares, kind="stable")
    order = order[counts[order] < rows]
    counts[order[: count - counts.sum()]] += 1
    return counts


def tiled(mask: np.ndarray, grid: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """``mask`` repeated over ``grid`` from a random place of it on."""
    start = [int(rng.integers(n)) for n in mask.shape]
    repeats = [-(-(n + s) // m) for n, s, m in zip(grid, start, mask.shape)]
    return np.tile(mask, repeats)[start[0] : start[0] + grid[0], start[1] : start[1] + grid[1]]


def trim(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``mask`` with blocks added or removed at random until ``count`` are kept."""
    mask = mask.copy()
    excess = int(mask.sum()) - count
    candidates = np.flatnonzero(mask == (excess > 0))
    mask.flat[rng.permutation(candidates)[: abs(excess)]] = excess < 0
    return mask


def load(path: Path) -> list[np.ndarray]:
    """Masks of the pruned matrices of an exported model (.onnx): its kept blocks by matrix, inputs by outputs.

    Raises:
        UserError: no such file, no model of this program, or one that keeps all of its blocks.
    """
    if path.suffix == ".pt":
        raise UserError(f"--masks-from {path}: use the .onnx file that finn-vitprune export makes of a checkpoint")
    kept = ModelMetadata.read(ModelWrapper(read_model(path))).kept_blocks.values()
    pruned = [m.grid for m in kept if not m.grid.all()]
    if not pruned:
        raise UserError(f"--masks-from {path}: the model keeps all of its blocks, a pruned one is needed")
    return pruned
