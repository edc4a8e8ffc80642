"""The torch form of the integer arithmetic equals NumPy's in every bit."""

import numpy as np
import pytest
import torch

from finn_vitprune import numerics
from finn_vitprune.models import integer

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shift", [0, 1, 7, 30])
def test_rounding_is_half_even(seed, shift):
    rng = np.random.default_rng(seed)
    values = rng.integers(-(2**40), 2**40, 1000)
    values[:500] = (values[:500] >> shift << shift) + (1 << shift >> 1)  # ties
    found = integer.shift_round_half_even(torch.from_numpy(values), shift)
    assert np.array_equal(found.numpy(), numerics.shift_round_half_even(values, shift))


@pytest.mark.parametrize("seed", SEEDS)
def test_reciprocal_square_root_over_all_magnitudes(seed):
    rng = np.random.default_rng(seed)
    v = np.concatenate([np.arange(1, 300), rng.integers(1, 1 << rng.integers(1, 52, 4000), dtype=np.int64)])
    for found, wanted in zip(integer.reciprocal_sqrt(torch.from_numpy(v)), numerics.reciprocal_sqrt(v)):
        assert np.array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dim", [16, 384, 1664])
def test_layernorm(dim, bits, centred):
    rng = np.random.default_rng(dim + bits)
    x = np.concatenate(
        [rng.integers(-(2**15), 2**15, (20, dim)), np.rint(rng.normal(0, 300, (20, dim))).astype(np.int64), np.full((1, dim), 7)]
    )
    constants = numerics.layernorm_constants(dim, 1e-6, 2.0**-11, 0.03)
    found = integer.layernorm(torch.from_numpy(x), *constants, bits, centred)
    assert np.array_equal(found.numpy(), numerics.layernorm(x, *constants, bits, centred))


@pytest.mark.parametrize("k", [1, 5, 10, 11])
@pytest.mark.parametrize("levels", [1, 3, 1 << 17])
@pytest.mark.parametrize("prefix", [1, 4])
def test_token_drop_with_and_without_ties(k, levels, prefix):
    """12 tokens: k = 10 drops one, k = 11 none, behind a prefix of one; one level is all ties."""
    k = min(k, 12 - prefix)
    rng = np.random.default_rng(k + levels)
    x, scores = rng.integers(-(2**15), 2**15, (6, 12, 8)), rng.integers(0, levels, (6, 12))
    mult, shift = numerics.head_mean_constant(3)
    keep = integer.rank_tokens(torch.from_numpy(scores), k, prefix)
    assert np.array_equal(keep.numpy(), numerics.rank_tokens(scores, k, prefix))
    found = integer.token_drop(torch.from_numpy(x), torch.from_numpy(scores), k, mult, shift, prefix=prefix)
    assert np.array_equal(found.numpy(), numerics.token_drop(x, scores, k, mult, shift, prefix=prefix))


def brute_force_drop(x, scores, k, heads):
    """Token by token, in Python integers, straight from the definition."""
    ranked = sorted(range(1, len(x)), key=lambda i: (-scores[i], i))
    kept = [0, *sorted(ranked[:k])]
    if k == len(x) - 1:
        return [x[i] for i in kept]
    mult, shift = numerics.head_mean_constant(heads)
    fused = []
    for d in range(len(x[0])):
        total = mult * sum(scores[i] * x[i][d] for i in ranked[k:])
        floor, rest = divmod(total, 1 << (16 + shift))
        tie = 2 * rest == 1 << (16 + shift)
        up = floor % 2 == 1 if tie else 2 * rest > 1 << (16 + shift)
        fused.append(max(-(2**15), min(2**15 - 1, floor + up)))
    return [x[i] for i in kept] + [fused]


@pytest.mark.parametrize("seed", range(6))
def test_token_drop_equals_a_brute_force_reference(seed):
    rng = np.random.default_rng(seed)
    n, heads = int(rng.integers(3, 14)), int(rng.integers(1, 5))
    k = int(rng.integers(1, n))
    x = rng.integers(-(2**15), 2**15, (3, n, 4))
    scores = rng.integers(0, [2, 50, heads << 16][seed % 3], (3, n))
    mult, shift = numerics.head_mean_constant(heads)
    found = integer.token_drop(torch.from_numpy(x), torch.from_numpy(scores), k, mult, shift).tolist()
    for frame, s, wanted in zip(x.tolist(), scores.tolist(), found):
        assert brute_force_drop(frame, s, k, heads) == wanted
