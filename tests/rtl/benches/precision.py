"""Inputs at which the last bit of a constant or of a product decides an output code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finn_vitprune.numerics import requantise
from tests.rtl.benches.helper import build_node


def deciding(accs: np.ndarray, mult: int, shift: int, bits: int, count: int = 2) -> np.ndarray:
    """``2 count`` of the accumulators: half get another code with ``mult`` - 1, half with ``mult`` + 1.

    Raises:
        AssertionError: there are not as many.
    """
    codes = requantise(accs, mult, shift, bits)
    chosen = [accs[requantise(accs, mult + step, shift, bits) != codes][:count] for step in (-1, 1)]
    assert all(len(c) == count for c in chosen), f"{[len(c) for c in chosen]} accumulators tell {mult} from others"
    return np.concatenate(chosen)


def near_ties(acc_bits: int, mult_bits: int, shift: int, out_bits: int) -> np.ndarray:
    """Pairs ``[n, 2]`` of accumulator and multiplier whose product is at most one from a tie in the range of codes."""
    rng, one, pairs = np.random.default_rng(6), 1 << shift, []
    for mult in 2 * (rng.integers(0, 1 << (mult_bits - 1), 3000) >> rng.integers(0, mult_bits, 3000)) + 1:
        inverse = pow(int(mult), -1, one)
        for product in (one // 2 + off for off in (-1, 0, 1)):
            acc = (product * inverse + one // 2) % one - one // 2
            if -(1 << acc_bits) <= 2 * acc < 1 << acc_bits and abs(acc * int(mult)) < one << (out_bits - 1):
                pairs.append((acc, int(mult)))
    return np.array(pairs).reshape(-1, 2)[:3000]


def assert_last_bits_count(
    op_type: str, attrs: dict, streams: Sequence[np.ndarray], initialisers: Sequence[np.ndarray], *constants: str
) -> None:
    """Assert that each of these attributes, one less or one more, gives other outputs."""
    outputs = [
        build_node(op_type, attrs | {name: attrs[name] + step}, initialisers)[0].compute(*streams, *initialisers)
        for name, step in [(constants[0], 0), *((name, step) for name in constants for step in (-1, 1))]
    ]
    golden, *others = (np.concatenate([o.reshape(-1) for o in arrays]) for arrays in outputs)
    assert all(np.any(golden != other) for other in others), constants
