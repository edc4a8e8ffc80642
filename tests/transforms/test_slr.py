"""Nodes dealt to SLRs against trying every deal, and the bits that cross a cut against counting streams by hand."""

import time
from itertools import combinations_with_replacement

import numpy as np
import pytest

from finn_vitprune.transforms.planning.slr import Cut, cut


def every_deal(used, capacity, bits):
    """(starts, fullest share, bits) of every deal of nodes in order to SLRs, the SLRs possibly empty."""
    nodes, slrs = len(used), len(capacity)
    for inner in combinations_with_replacement(range(nodes + 1), slrs - 1):
        starts = (0, *inner)
        fullest = 0.0
        for s, (a, b) in enumerate(zip(starts, (*inner, nodes))):
            for need, have in zip(used[a:b].sum(axis=0), capacity[s]):
                if need > 0:
                    fullest = max(fullest, need / have if have else np.inf)
        yield starts, fullest, sum(bits[b - 1] for b in inner if 0 < b < nodes)


def drawn(seed):
    rng = np.random.default_rng(seed)
    nodes, slrs, kinds = int(rng.integers(1, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 4))
    used = rng.integers(0, 20, (nodes, kinds)) * (rng.random((nodes, kinds)) < 0.8)
    capacity = rng.integers(1, 40, (slrs, kinds)) * (rng.random((slrs, kinds)) < 0.95)
    return used, capacity, rng.integers(1, 100, nodes - 1), float(rng.choice([0.0, 0.02, 0.2, 0.6]))


@pytest.mark.parametrize("seed", range(300))
def test_the_cut_is_the_best_of_all(seed):
    used, capacity, bits, slack = drawn(seed)
    found = cut(used, capacity, bits, slack)
    deals = list(every_deal(used, capacity, bits))
    best = min(fullest for _, fullest, _ in deals)
    limit = min(1.0, best + slack) if best <= 1 else best
    mine = next((fullest, b) for starts, fullest, b in deals if starts == found.starts)
    assert max(found.shares) == pytest.approx(mine[0]) and found.fits == (mine[0] <= 1)
    if np.isfinite(best):
        fewest = min(b for _, fullest, b in deals if fullest <= limit + 1e-12)
        least = min(fullest for _, fullest, b in deals if b == fewest and fullest <= limit + 1e-12)
        assert (mine[1], mine[0]) == (fewest, pytest.approx(least))


def test_the_draws_have_all_cases():
    """Deals that fit and that do not, and some where slack saves bits."""
    fits = [cut(*drawn(seed)).fits for seed in range(300)]
    assert 50 < sum(fits) < 250
    saves = 0
    for seed in range(300):
        used, capacity, bits, _ = drawn(seed)
        loose, tight = cut(used, capacity, bits, 0.6), cut(used, capacity, bits, 0.0)
        saves += loose.starts != tight.starts
    assert saves > 20


def test_slrs_of_nodes_and_an_empty_slr():
    found = cut(np.array([[4], [4], [1]]), np.array([[10], [0], [10]]), np.array([7, 9]), slack=1.0)
    assert found == Cut((0, 3, 3), (0.9, 0.0, 0.0)) and found.slrs(3).tolist() == [0, 0, 0]
    found = cut(np.array([[6], [6]]), np.array([[10], [0], [10]]), np.array([7]))
    assert found.slrs(2).tolist() == [0, 2]  # nothing in the SLR that offers nothing


def test_large_graphs_take_milliseconds():
    rng = np.random.default_rng(1)
    used, capacity = rng.integers(1, 1000, (200, 5)), np.full((4, 5), 40_000)
    start = time.process_time()
    assert cut(used, capacity, rng.integers(8, 512, 199)).fits
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "used, capacity, bits, slack, text",
    [
        (np.ones((3, 2)), np.ones((2, 3)), np.ones(2), 0.1, "kinds"),
        (np.ones((0, 2)), np.ones((2, 2)), np.ones(0), 0.1, "kinds"),
        (np.ones((3, 2)), np.ones((2, 2)), np.ones(3), 0.1, "must be .2."),
        (np.ones((3, 2)), np.ones((2, 2)), -np.ones(2), 0.1, "negative"),
        (np.ones((3, 2)), np.ones((2, 2)), np.ones(2), -0.1, "negative"),
    ],
)
def test_arguments_that_do_not_agree(used, capacity, bits, slack, text):
    with pytest.raises(ValueError, match=text):
        cut(used, capacity, bits, slack)
