"""What a tensor of a graph stands for: a constant, or an array of positions in some base array.

A value that is computed from the input carries an ``index``: an integer array of the ONNX tensor's shape whose
entries are flat positions in the value's base array. Reshape, Transpose, Slice, Split, Gather and Concat only
act on the index, so a rule sees through any chain of them. What the base array is, each client's classes say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from finn_vitprune.graph.constants import limit
from finn_vitprune.graph.reason import Rejection


class Symbolic(ABC):
    """A tensor that is known by more than its numbers. ``kind``, given with the class, is its name in messages."""

    kind: ClassVar[str] = "a computed tensor"

    def __init_subclass__(cls, kind: str = kind) -> None:
        cls.kind = kind

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the ONNX tensor."""

    @abstractmethod
    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> "Symbolic":
        """The same with ``function`` applied to its layout."""


@dataclass(frozen=True)
class Const:
    """A constant."""

    value: np.ndarray
    kind: ClassVar[str] = "a constant"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> "Const":
        """The same with ``function`` applied to its layout."""
        return Const(function(self.value))


@dataclass(frozen=True)
class Indexed(Symbolic):
    """Base of the values that are positions in a base array."""

    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> "Indexed":
        return replace(self, index=function(self.index))


@dataclass(frozen=True)
class Unknown:
    """Depends on a node that was rejected."""

    rejection: Rejection


Value = Const | Symbolic | Unknown
ANY = (Const, Symbolic)


def ordered(shape: Iterable[int]) -> np.ndarray:
    """0, 1, 2, ... in this shape: the index of a tensor that is its own base.

    Raises:
        Reason: it would be too large.
    """
    shape = tuple(int(d) for d in shape)
    limit(shape)
    return np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)


def is_ordered(index: np.ndarray) -> bool:
    """Whether the entries are 0, 1, 2, ... in order."""
    return bool(np.array_equal(index.reshape(-1), np.arange(index.size)))
