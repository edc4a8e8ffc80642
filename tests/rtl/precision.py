"""Inputs at which the last bit of a constant decides an output code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finn_vitprune.numerics import requantise
from tests.rtl.helper import build_node


def deciding(accs: np.ndarray, mult: int, shift: int, bits: int, count: int = 2) -> np.ndarray:
    """``2 count`` of the accumulators: half get another code with ``mult`` - 1, half with ``mult`` + 1.

    Raises:
        AssertionError: there are not as many.
    """
    codes = requantise(accs, mult, shift, bits)
    chosen = [accs[requantise(accs, mult + step, shift, bits) != codes][:count] for step in (-1, 1)]
    assert all(len(c) == count for c in chosen), f"{[len(c) for c in chosen]} accumulators tell {mult} from others"
    return np.concatenate(chosen)


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
