"""A node of an ONNX graph as plain data, and why one is not supported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """A node of the graph. ``attributes`` hold Python values, NumPy arrays, or a ``GraphProto``."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


NOWHERE = Node("none", "none", "", (), (), {})
"""The node of a pass that has not begun, and of a reason that no pass was told."""
NO_NODES = ("input", "output", "weights", "model")
"""What stands for an op type where the reason is not at a node."""


@dataclass(frozen=True)
class Rejection:
    """One reason at one node: a sentence with attribute and value, and what would help (may be empty)."""

    node: str
    op_type: str
    reason: str
    help: str = ""

    @classmethod
    def at(cls, node: Node, reason: str, help: str = "") -> Rejection:
        """A rejection of ``node``."""
        return cls(node.name, node.op_type, reason, help)

    def __str__(self) -> str:
        where = self.node if self.op_type in NO_NODES else f"node {self.node}"
        text = f"{where} ({self.op_type}): {self.reason}"
        return f"{text}; {self.help}" if self.help else text


class Reason(Exception):
    """Raised by a rule that knows its node but cannot take it.

    help: what would work, may be empty. tensor: the input at fault, where one is. node: set by the pass.
    """

    def __init__(self, reason: str, help: str = "", tensor: str = "", node: Node = NOWHERE) -> None:
        super().__init__(reason)
        self.reason, self.help, self.tensor, self.node = reason, help, tensor, node


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
