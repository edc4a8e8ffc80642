"""One pass over the nodes of a graph: each is handed to the rule of its op type and of what its inputs are.

What the pass does with a node that no rule takes, its policy says: stop there, or note it and continue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
from onnx import GraphProto

from finn_vitprune.errors import UserError
from finn_vitprune.graph import constants
from finn_vitprune.graph.node import NOWHERE, Node, Reason, Rejection, first_line
from finn_vitprune.graph.rules import Const, Indexed, Known, Rules, Symbolic, Unknown, Value

DAMAGE = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, MemoryError, NotImplementedError)
"""What NumPy and qonnx raise where shapes or attributes of a damaged file do not fit."""
DAMAGED = "the file is damaged or was edited: export it again"
COUNTED = 1 << 16
"""Bytes of a result from which on the memory that is held is looked at."""


class Policy:
    """Stops at the first node that no rule takes, by raising its :class:`Reason`."""

    def answer(self, state: Pass, node: Node, values: list[Known | None]) -> list[Value]:
        """The outputs of a node."""
        return state.results(node, values)

    def rejected(self, state: Pass, node: Node, values: Sequence[Value | None], reason: Reason) -> list[Value]:
        """What stands for the outputs of a node that was not taken."""
        raise reason


class CollectAll(Policy):
    """Notes the reason in :attr:`Pass.rejections` and continues: what depends on the node is :class:`Unknown`."""

    def __init__(self, help: str) -> None:
        """``help`` is said where a reason has none of its own."""
        self.help = help

    def rejected(self, state: Pass, node: Node, values: Sequence[Value | None], reason: Reason) -> list[Value]:
        rejection = Rejection.at(node, reason.reason, reason.help or self.help)
        state.rejections.append(rejection)
        return [Unknown(rejection)] * len(node.outputs)


@dataclass(frozen=True)
class Step:
    """One node, its inputs and outputs, and the reason where it or what it depends on was rejected."""

    node: Node
    values: Sequence[Value | None]
    results: list[Value]
    rejection: Rejection | None

    @property
    def waits(self) -> bool:
        """Whether an input of it is unknown."""
        return any(isinstance(v, Unknown) for v in self.values)


class Pass(ABC):
    """State of one pass.

    values: what every tensor stands for, by name. node: the one at hand. rejections: all that were noted.
    folder: where external data of constants in branches lies.
    """

    def __init__(self, rules: Rules, tensors: Mapping[str, np.ndarray], folder: Path, policy: Policy) -> None:
        self.rules, self.folder, self.policy = rules, folder, policy
        self.values: dict[str, Value] = {name: Const(array) for name, array in tensors.items()}
        self.rejections: list[Rejection] = []
        self.node = NOWHERE
        self._held: dict[str, tuple[int, int]] = {}

    # --- what a client says ---

    @abstractmethod
    def knows(self, node: Node) -> bool:
        """Whether the rules are meant for the domain of this node."""

    @abstractmethod
    def unmatched(self, node: Node, values: list[Known | None]) -> Value | list[Value]:
        """The outputs of a node for which no rule is found, or a :class:`Reason`."""

    # --- the pass ---

    def walk(self, nodes: Sequence[Node], wanted: Iterable[str]) -> Iterator[Step]:
        """Apply every node in order; tensors that are not ``wanted`` are dropped after their last use."""
        last_use = {t: i for i, node in enumerate(nodes) for t in node.inputs}
        kept = {*wanted, *_read_in_branches(nodes)}
        for i, node in enumerate(nodes):
            yield self.apply(node)
            for tensor in {*node.inputs, *node.outputs} - kept:
                if last_use.get(tensor, -1) <= i:
                    self.values.pop(tensor, None)
                    self._held.pop(tensor, None)

    def apply(self, node: Node) -> Step:
        """Find the outputs of one node and keep them."""
        self.node, noted = node, len(self.rejections)
        values: Sequence[Value | None] = []
        try:
            values = [self._input(name) if name else None for name in node.inputs]
            unknown = next((v for v in values if isinstance(v, Unknown)), None)
            if unknown is not None:
                return self._keep(Step(node, values, [unknown] * len(node.outputs), unknown.rejection))
            values = known = [v for v in values if not isinstance(v, Unknown)]
            with np.errstate(all="ignore"):
                results = self.policy.answer(self, node, known)
            if not self.fits(results):
                held = constants.MAX_HELD >> 20
                raise Reason(f"with its result more than {held} MiB are held while the file is read")
        except (Reason, UserError, *DAMAGE) as error:
            results = self.policy.rejected(self, node, values, _reason(error, node, values))
        rejection = self.rejections[noted] if len(self.rejections) > noted else None
        return self._keep(Step(node, values, results, rejection))

    def results(self, node: Node, values: list[Known | None]) -> list[Value]:
        """The outputs of a node by the rules."""
        apply = self.rules.find(node.op_type, values) if self.knows(node) else None
        result = self.unmatched(node, values) if apply is None else apply(self, node, values)
        return result if isinstance(result, list) else [result]

    def fits(self, results: Iterable[Value]) -> bool:
        """Whether the arrays that are held stay below :data:`constants.MAX_HELD` with these."""
        new = {key: size for key, size in map(_memory, results) if size >= COUNTED}
        return not new or sum((dict(self._held.values()) | new).values()) <= constants.MAX_HELD

    def hold(self, tensor: str, value: Value) -> None:
        """Keep what a tensor stands for."""
        self.values[tensor] = value
        self._held[tensor] = _memory(value)

    def _input(self, name: str) -> Value:
        if name not in self.values:
            raise Reason(f"input {name} has no producer before it: nodes must be in order", "", name)
        return self.values[name]

    def _keep(self, step: Step) -> Step:
        for tensor, value in zip(step.node.outputs, step.results, strict=False):
            if tensor:
                self.hold(tensor, value)
        return step


def evaluated(node: Node, opset: int, values: Sequence[Const | None]) -> list[Value]:
    """The outputs of a node whose inputs are all constants.

    Raises:
        Reason: the op is not computed here, or its result is too large.
    """
    arrays = [None if v is None else v.value for v in values]
    return [Const(np.asarray(a)) for a in constants.evaluate(node, opset, arrays)]


def all_constant(values: Sequence[Known | None]) -> TypeGuard[Sequence[Const | None]]:
    """Whether nothing depends on the input."""
    return all(v is None or isinstance(v, Const) for v in values)


def _reason(error: Exception, node: Node, values: Sequence[Value | None]) -> Reason:
    """The reason at ``node`` that an exception stands for."""
    if isinstance(error, Reason):
        reason = error
    elif isinstance(error, UserError):
        reason = Reason(str(error))
    else:
        shapes = ", ".join(str(list(v.shape)) for v in values if isinstance(v, Known))
        reason = Reason(f"inputs of shape {shapes or 'nothing'} do not fit: {first_line(error)}", DAMAGED)
        reason.__cause__ = error
    reason.node = node
    return reason


def _memory(value: Value) -> tuple[int, int]:
    """Identity and bytes of the array that a value keeps alive; views of one array share it."""
    array = value.value if isinstance(value, Const) else value.index if isinstance(value, Indexed) else None
    if array is None and isinstance(value, Symbolic):
        return id(value), value.nbytes
    while isinstance(array, np.ndarray) and isinstance(array.base, np.ndarray):
        array = array.base
    return id(array), getattr(array, "nbytes", 0)


def _read_in_branches(nodes: Iterable[Node]) -> set[str]:
    """Tensors that the bodies of control-flow nodes read from outside."""
    waiting = [a for node in nodes for a in node.attributes.values() if isinstance(a, GraphProto)]
    found: set[str] = set()
    while waiting:
        body = waiting.pop()
        found |= {i for node in body.node for i in node.input} | {o.name for o in body.output}
        waiting += [a.g for node in body.node for a in node.attribute if a.HasField("g")]
    return found
