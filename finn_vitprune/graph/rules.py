"""The rules of a client: which function turns a node's inputs into its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from finn_vitprune.graph.node import Node
from finn_vitprune.graph.reason import Reason
from finn_vitprune.graph.values import Const, Value

Apply = Callable[..., Value | list[Value]]
"""``(state, node, values)`` to the outputs; ``values`` has None for an input that is left out."""
Kinds = tuple[type | tuple[type, ...], ...]


@dataclass(frozen=True)
class Rule:
    """One rule: the kinds of the leading inputs, and what to do."""

    kinds: Kinds
    apply: Apply

    def matches(self, values: list[Value | None]) -> bool:
        """Whether the leading inputs are of this rule's kinds."""
        return len(values) >= len(self.kinds) and all(isinstance(v, k) for v, k in zip(values, self.kinds))


class Rules:
    """A table of rules by op type; rules of one op type are tried in their order, those of ``parts`` first."""

    def __init__(self, *parts: "Rules") -> None:
        self._rules: dict[str, list[Rule]] = {}
        for part in parts:
            for op_type, rules in part._rules.items():
                self._rules.setdefault(op_type, []).extend(rules)

    def __contains__(self, op_type: str) -> bool:
        return op_type in self._rules

    def rule(self, op_types: str, *kinds: type | tuple[type, ...]) -> Callable[[Apply], Apply]:
        """Register a rule for ``op_types`` (with spaces) whose leading inputs are of ``kinds``."""

        def decorate(function: Apply) -> Apply:
            for op_type in op_types.split():
                self._rules.setdefault(op_type, []).append(Rule(kinds, function))
            return function

        return decorate

    def find(self, op_type: str, values: list[Value | None]) -> Apply | None:
        """The first rule that takes a node of this type and these inputs."""
        return next((r.apply for r in self._rules.get(op_type, ()) if r.matches(values)), None)


# --- helpers for rules ---------------------------------------------------------------------------


def optional(node: Node, values: list[Value | None], position: int) -> np.ndarray | None:
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


def constant(node: Node, values: list[Value | None], position: int) -> np.ndarray:
    """A constant input.

    Raises:
        Reason: it is left out, or computed from the image.
    """
    value = optional(node, values, position)
    if value is None:
        raise Reason(f"input {position} is missing")
    return value


def numbers(node: Node, values: list[Value | None], position: int, attribute: str) -> list[int] | None:
    """Whole numbers from an attribute (older opsets) or a constant input (newer ones), or None."""
    given = node.attributes.get(attribute)
    if given is None:
        given = optional(node, values, position)
    return None if given is None else [int(n) for n in np.asarray(given).reshape(-1)]


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; one that the tensor does not have is rejected."""
    if not -rank <= axis < rank:
        raise Reason(f"axis {axis} of a tensor of {rank} dimensions")
    return axis % rank
