"""The input image in layout operators: the node stays in the graph and runs on the host. Tokens joined to tokens."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph import layout
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import ANY, Const, Rules, axis_of, constant, ordered
from finn_vitprune.graph.walk import all_constant, evaluated
from finn_vitprune.transforms.lowering import Lowering
from finn_vitprune.transforms.values import Image, QConst, Rows

RULES = Rules()


@RULES.rule("Reshape Flatten Transpose Squeeze Unsqueeze Slice Gather", Image)
def on_host(lowering: Lowering, node: Node, values: list):
    """The patch order of the input image: a copy of the node, with its constants."""
    moved = layout.RULES.find(node.op_type, values)(lowering, node, values)
    source = lowering.source.find_producer(node.outputs[0])
    copy = type(source)()
    copy.CopyFrom(source)
    copy.input[0] = values[0].tensor
    for i, name in enumerate(node.inputs[1:], start=1):
        if name:
            lowering.graph.add_raw_initialiser(name, constant(node, values, i))
    lowering.graph.nodes.append(copy)
    lowering.graph.declare(node.outputs[0], moved.shape, "UINT8")
    return Image(moved.index, node.outputs[0])


@RULES.rule("Split Expand Tile", Image)
def not_on_host(lowering: Lowering, node: Node, values: list):
    raise Reason(f"{node.op_type} of the input image; patches must come from Reshape and Transpose")


@RULES.rule("Concat", ANY)
def concat(lowering: Lowering, node: Node, values: list):
    """Constants together, or constant rows (class and distillation tokens) before a stream of tokens."""
    if all_constant(values):
        return evaluated(node, lowering.opset, values)
    *prefix, last = values
    rank = len(last.shape)
    if not all(isinstance(v, (Const, QConst)) for v in prefix) or axis_of(node.attributes["axis"], rank) != 1:
        raise Reason("only constant rows before one stream of tokens can be joined (axis 1)")
    x = lowering.stream(last)
    rows = np.concatenate([v.value.reshape(-1, x.channels) for v in prefix])
    total = len(rows) + x.tokens
    return Rows(ordered((1, total, x.channels)), rows, x)
