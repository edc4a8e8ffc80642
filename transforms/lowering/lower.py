"""QONNX to the integer hardware graph, in one pass over the nodes.

Each node is handed to a rule chosen by its op type and by what its inputs stand for
(:mod:`finn_vitprune.transforms.lowering.values`). A rule returns what the outputs stand for; hardware nodes come
into being where a ``Quant`` fixes codes and scale.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.errors import UserError
from finn_vitprune.graph import constants, layout
from finn_vitprune.graph.node import Reason
from finn_vitprune.graph.reading import read_node, tensor_array
from finn_vitprune.graph.rules import Rules
from finn_vitprune.transforms.lowering import (
    rules_attention,
    rules_elementwise,
    rules_gate,
    rules_linear,
    rules_norm,
    rules_quant,
    rules_rotary,
    rules_tokens,
)
from finn_vitprune.transforms.lowering.rules import DOMAINS, Lowered, Lowering

RULES = Rules(
    rules_tokens.RULES,
    layout.RULES,
    rules_linear.RULES,
    rules_quant.RULES,
    rules_gate.RULES,
    rules_norm.RULES,
    rules_elementwise.RULES,
    rules_rotary.RULES,
    rules_attention.RULES,
)


class Unmapped(UserError):
    """A node has no hardware form. ``why`` carries the node, the reason and, where known, the tensor at fault."""

    def __init__(self, why: Reason) -> None:
        self.why = why
        text = f"node {why.node.name} ({why.node.op_type}) does not map to hardware: {why.reason}"
        super().__init__(f"{text}; {why.help}" if why.help else text)


def check_op_types(source: ModelWrapper) -> None:
    """Reject op types without any rule, and constants too large to be folded, before long work starts.

    Raises:
        Unmapped: the first such node.
    """
    constant = {i.name for i in source.graph.initializer}
    folded = []
    for node in source.graph.node:
        if node.op_type == "Constant" or (node.op_type != "Quant" and all(i in constant or not i for i in node.input)):
            constant.update(node.output)
            folded.append(node)
        elif node.domain not in DOMAINS:
            raise Unmapped(Reason(f"operator {node.op_type} of domain {node.domain} is not known here", node=read_node(node, Path())))
        elif node.op_type not in RULES:
            raise Unmapped(Reason("no rule for this op type", node=read_node(node, Path())))
    _check_sizes(source, folded)


def _check_sizes(source: ModelWrapper, folded: Sequence[NodeProto]) -> None:
    """Reject a node whose constant result is too large; constant folding would make it whatever memory it takes.

    Args:
        folded: the nodes without computed inputs, in order.
    """
    wanted = {name for node in folded for name in node.input}
    values = {i.name: tensor_array(i, Path()) for i in source.graph.initializer if i.name in wanted}
    opset = next((o.version for o in source.model.opset_import if o.domain in ("", "ai.onnx")), 1)
    for node in map(partial(read_node, folder=Path()), folded):
        if node.op_type not in constants.FOLDED or not all(name in values or not name for name in node.inputs):
            continue
        try:
            values |= zip(node.outputs, constants.evaluate(node, opset, [values.get(name) for name in node.inputs]))
        except Reason as why:
            why.node = node
            raise Unmapped(why) from None
        except ValueError:
            continue  # the lowering says what is wrong


def lower(source: ModelWrapper) -> Lowered:
    """Lower a QONNX model to the integer hardware graph (dense order, one node a layer, unfolded).

    Raises:
        Unmapped: a node has no hardware form; names node, op type and reason.
        UserError: the model as a whole does not fit (inputs, shapes).
    """
    lowering = Lowering(source, RULES)
    try:
        deque(lowering.steps(), maxlen=0)
        return lowering.finish()
    except Reason as e:
        raise Unmapped(e) from e
