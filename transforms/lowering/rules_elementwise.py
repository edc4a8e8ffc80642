"""Element-wise functions of one stream of few bits become tables; residual sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.graph.functions import BINARY, UNARY, unary
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, is_ordered, ordered
from finn_vitprune.transforms.lowering import rules_gate
from finn_vitprune.transforms.lowering.rules import Lowering
from finn_vitprune.transforms.lowering.rules_norm import squares
from finn_vitprune.transforms.lowering.rules_rotary import weighed
from finn_vitprune.transforms.lowering.values import Codes, CodeSum, CodeTable, QAcc, QConst, Rows

RULES = Rules()
TABLE_BITS = 8
BINARY_OPS = "Add Sub Mul Div Pow"


def as_table(lowering: Lowering, value) -> CodeTable:
    """Codes of at most 8 bits as the table of their own real values."""
    if isinstance(value, CodeTable):
        return value
    x = value if isinstance(value, QAcc) else lowering.stream(value)
    if x.bits > TABLE_BITS:
        raise Reason(f"an element-wise function needs codes of at most {TABLE_BITS} bits, got {x.bits}: add a Quant before it")
    lo, hi = numerics.int_range(x.bits, x.signed)
    return CodeTable(x.index, x, np.arange(lo, hi + 1) * x.scale)


@RULES.rule(" ".join(UNARY), (Codes, QAcc, CodeTable))
def function(lowering: Lowering, node: Node, values: list):
    table = as_table(lowering, values[0])
    return replace(table, values=unary(node)(table.values))


@RULES.rule("Add", (Codes, QAcc), (Codes, QAcc))
def residual_sum(lowering: Lowering, node: Node, values: list):
    a, b = (lowering.stream(v) for v in values[:2])
    if a.bits <= TABLE_BITS and a.tensor == b.tensor:
        return two_tables(lowering, node, values)
    if (a.tokens, a.channels) != (b.tokens, b.channels):
        raise Reason("the two branches differ in shape")
    if a.scale != b.scale or a.bits != 16 or b.bits != 16:
        raise Reason(f"residual branches must be INT16 at one scale, got INT{a.bits} at {a.scale:g} and INT{b.bits} at {b.scale:g}")
    return CodeSum(a.index, a, b)


@RULES.rule("Add", (Codes, QAcc), QConst)
def positions_alone(lowering: Lowering, node: Node, values: list):
    """Positions without prefix tokens."""
    x = lowering.stream(values[0])
    if values[1].shape != (1, x.tokens, x.channels):
        raise Reason(f"a constant of shape {list(values[1].shape)} is added to {x.tokens} tokens: positions are one row each")
    positions = values[1].value.reshape(x.tokens, x.channels)
    return Rows(ordered((1, x.tokens, x.channels)), np.zeros((0, x.channels)), x, positions)


@RULES.rule("Add", Rows, (Const, QConst))
def positions(lowering: Lowering, node: Node, values: list):
    rows = values[0]
    if rows.positions is not None or not is_ordered(rows.index):
        raise Reason("position embeddings are added once, to tokens in order")
    return replace(rows, positions=values[1].value.reshape(-1, rows.x.channels))


@RULES.rule(BINARY_OPS, (CodeTable, Codes, QAcc), Const)
@RULES.rule(BINARY_OPS, Const, (CodeTable, Codes, QAcc))
def with_constant(lowering: Lowering, node: Node, values: list):
    left = isinstance(values[0], Const)
    constant = values[0 if left else 1].value
    x = values[1 if left else 0]
    if node.op_type == "Pow" and not left and not isinstance(x, CodeTable) and x.bits > TABLE_BITS and np.all(constant == 2):
        return squares(lowering, x)
    if constant.size != 1 and node.op_type == "Mul" and isinstance(x, QAcc) and len(x.shape) == 4:  # of heads
        return weighed(x, constant)
    if constant.size != 1:
        raise Reason("an element-wise constant must be a scalar")
    table = as_table(lowering, x)
    scalar = float(constant.reshape(-1)[0])
    operands = (scalar, table.values) if left else (table.values, scalar)
    return replace(table, values=BINARY[node.op_type](*operands))


@RULES.rule(BINARY_OPS, (CodeTable, Codes, QAcc), (CodeTable, Codes, QAcc))
def two_tables(lowering: Lowering, node: Node, values: list):
    if (
        node.op_type == "Mul"
        and all(isinstance(v, Codes | QAcc) and v.bits > TABLE_BITS for v in values)
        and values[0].tensor == values[1].tensor
    ):
        raise Reason("a wide stream times itself", "write the squares of an RMSNorm as Pow(x, 2)")  # qonnx renames one of two equal inputs
    a, b = (as_table(lowering, v) for v in values[:2])
    if a.x.tensor != b.x.tensor or not np.array_equal(a.index, b.index):
        help = rules_gate.HELP if node.op_type == "Mul" else ""
        raise Reason("two different streams are combined; only residual INT16 sums and gates with their values can be", help)
    return replace(a, values=BINARY[node.op_type](a.values, b.values))
