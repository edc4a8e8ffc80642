"""What a tensor of a graph stands for, and the rules that turn a node's inputs into its outputs.

A tensor is a constant, or an array of positions in some base array. A value that is computed from the input carries an
``index``: an integer array of the ONNX tensor's shape whose entries are flat positions in the value's base array.
Reshape, Transpose, Slice, Split, Gather and Concat only act on the index, so a rule sees through any chain of them.
What the base array is, each client's classes say. A rule is chosen by the op type of a node and the kinds of its inputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar

import numpy as np

from finn_vitprune.graph.constants import limit
from finn_vitprune.graph.node import Node, Reason, Rejection


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
    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        """The same with ``function`` applied to its layout."""

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that it alone keeps alive, beside an index."""
        return 0


@dataclass(frozen=True)
class Const:
    """A constant."""

    value: np.ndarray
    kind: ClassVar[str] = "a constant"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Const:
        """The same with ``function`` applied to its layout."""
        return Const(function(self.value))


@dataclass(frozen=True)
class Indexed(Symbolic):
    """Base of the values that are positions in a base array."""

    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        return replace(self, index=function(self.index))


@dataclass(frozen=True)
class Unknown:
    """Depends on a node that was rejected."""

    rejection: Rejection


Known = Const | Symbolic
Value = Known | Unknown
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


Apply = Callable[..., Value | list[Value]]
"""``(state, node, values)`` to the outputs; ``values`` has None for an input that is left out."""
R = TypeVar("R", bound=Apply)
Kinds = tuple[type | tuple[type, ...], ...]


@dataclass(frozen=True)
class Rule:
    """One rule: the kinds of the leading inputs, and what to do."""

    kinds: Kinds
    apply: Apply

    def matches(self, values: list[Known | None]) -> bool:
        """Whether the leading inputs are of this rule's kinds."""
        return len(values) >= len(self.kinds) and all(isinstance(v, k) for v, k in zip(values, self.kinds))


class Rules:
    """A table of rules by op type; rules of one op type are tried in their order, those of ``parts`` first."""

    def __init__(self, *parts: Rules) -> None:
        self._rules: dict[str, list[Rule]] = {}
        for part in parts:
            for op_type, rules in part._rules.items():
                self._rules.setdefault(op_type, []).extend(rules)

    def __contains__(self, op_type: str) -> bool:
        return op_type in self._rules

    def rule(self, op_types: str, *kinds: type | tuple[type, ...]) -> Callable[[R], R]:
        """Register a rule for ``op_types`` (with spaces) whose leading inputs are of ``kinds``."""

        def decorate(function: R) -> R:
            for op_type in op_types.split():
                self._rules.setdefault(op_type, []).append(Rule(kinds, function))
            return function

        return decorate

    def find(self, op_type: str, values: list[Known | None]) -> Apply | None:
        """The first rule that takes a node of this type and these inputs."""
        return next((r.apply for r in self._rules.get(op_type, ()) if r.matches(values)), None)


# --- helpers for rules ---------------------------------------------------------------------------


def optional(node: Node, values: list[Known | None], position: int) -> np.ndarray | None:
    """A constant input, or None where it is left out.

    Raises:
        Reason: it is computed from the image.
    """
    if position >= len(values) or values[position] is None:
        return None
    value = values[position]
    if not isinstance(value, Const):
        name = node.inputs[position]
        raise Reason(f"input {position} ({name}) must be a constant", "export with fixed shapes", name)
    return value.value


def constant(node: Node, values: list[Known | None], position: int) -> np.ndarray:
    """A constant input.

    Raises:
        Reason: it is left out, or computed from the image.
    """
    value = optional(node, values, position)
    if value is None:
        raise Reason(f"input {position} is missing")
    return value


def numbers(node: Node, values: list[Known | None], position: int, attribute: str) -> list[int] | None:
    """Whole numbers from an attribute (older opsets) or a constant input (newer ones), or None."""
    given = node.attributes.get(attribute)
    if given is None:
        given = optional(node, values, position)
    return None if given is None else [int(n) for n in np.asarray(given).reshape(-1)]


def needed_numbers(node: Node, values: list[Known | None], position: int, attribute: str) -> list[int]:
    """The same where they must be given.

    Raises:
        Reason: they are left out.
    """
    found = numbers(node, values, position, attribute)
    if found is None:
        raise Reason(f"input {position} is missing")
    return found


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; one that the tensor does not have is rejected."""
    if not -rank <= axis < rank:
        raise Reason(f"axis {axis} of a tensor of {rank} dimensions")
    return axis % rank
