"""Element-wise functions by their values on a grid, so that any spelling of GELU is the same function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from finn_vitprune.graph.functions import gelu, gelu_tanh, hard_swish, mish, relu, sigmoid, softsign

GRID = np.arange(-8.0, 8.25, 0.25)
"""Where functions are compared; as values of a function: the one that changes nothing."""
ZERO, ONE = int(np.flatnonzero(GRID == 0.0)[0]), int(np.flatnonzero(GRID == 1.0)[0])
TOLERANCE = 1e-4
"""Largest difference on the grid: half-precision constants pass, exact and tanh GELU (4.7e-4) stay apart."""

KNOWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "GELU": gelu,
    "GELU in its tanh form": gelu_tanh,
    "ReLU": relu,
    "ReLU6": lambda x: np.clip(x, 0.0, 6.0),
    "squared ReLU": lambda x: np.maximum(x, 0.0) ** 2,
    "SiLU": lambda x: x * sigmoid(x),
    "QuickGELU": lambda x: x * sigmoid(1.702 * x),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softsign": softsign,
    "Mish": mish,
    "hard swish": hard_swish,
    "hard sigmoid": lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "hard sigmoid of slope 0.2": lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(x)),
}


def affine(fn: np.ndarray | None) -> tuple[float, float] | None:
    """``(m, a)`` where the function is ``m x + a``, else None."""
    if fn is None:
        return 1.0, 0.0
    offset = float(fn[ZERO])
    slope = float(fn[ONE]) - offset
    line = slope * GRID + offset
    close = np.allclose(fn, line, rtol=1e-9, atol=1e-12 * max(1.0, abs(slope), abs(offset)))
    return (slope, offset) if close else None


def name_of(fn: np.ndarray) -> str:
    """The known function nearest to these values, or "an unknown function"."""
    with np.errstate(all="ignore"):
        errors = {name: np.abs(f(GRID) - fn).max() for name, f in KNOWN.items()}
    name = min(errors, key=lambda n: errors[n] if np.isfinite(errors[n]) else np.inf)
    return name if errors[name] < TOLERANCE else "an unknown function"


def name_up_to_scale(fn: np.ndarray) -> str:
    """The known function of which these values are a multiple plus a constant, or "an unknown function"."""
    name = name_of(fn)
    if name in KNOWN or not np.isfinite(fn).all():
        return name
    for known, function in KNOWN.items():
        with np.errstate(all="ignore"):
            columns = np.stack([function(GRID), np.ones_like(GRID)], axis=1)
        (factor, offset), *_ = np.linalg.lstsq(columns, fn, rcond=None)
        if abs(factor) > TOLERANCE and np.abs(columns @ (factor, offset) - fn).max() < TOLERANCE * abs(factor):
            return known
    return name


def equals(fn: np.ndarray | None, expected: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether the values are those of ``expected`` for all grid points that are not negative."""
    part = GRID >= 0
    with np.errstate(all="ignore"):
        return fn is not None and bool(np.allclose(fn[part], expected(GRID[part]), rtol=1e-6, atol=1e-12))
