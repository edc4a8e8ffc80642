"""Element-wise functions of one stream of few bits become tables; residual sums; LayerNorm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.transforms.lower import Reason, rule
from finn_vitprune.transforms.rules_layout import attribute
from finn_vitprune.transforms.values import Const, Normed, QAcc, QConst, Rows, Stream, Sum, Table, is_range

TABLE_BITS = 8


def _erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(x)


def _gelu(node, x: np.ndarray) -> np.ndarray:
    if attribute(node, "approximate", b"none") == b"tanh":
        return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + _erf(x / np.sqrt(2.0)))


UNARY = {
    "Gelu": _gelu,
    "Erf": lambda node, x: _erf(x),
    "Tanh": lambda node, x: np.tanh(x),
    "Sigmoid": lambda node, x: 1.0 / (1.0 + np.exp(-x)),
    "Relu": lambda node, x: np.maximum(x, 0.0),
}
BINARY = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
}


def as_table(lowering, value) -> Table:
    """A stream of at most 8 bits as the table of its own real values."""
    if isinstance(value, Table):
        return value
    x = lowering.stream(value)
    if x.bits > TABLE_BITS:
        raise Reason(f"an element-wise function needs codes of at most {TABLE_BITS} bits, got {x.bits}: add a Quant before it")
    lo, hi = numerics.int_range(x.bits, x.signed)
    return Table(x.index, x, np.arange(lo, hi + 1) * x.scale)


def _unary(lowering, node, values):
    table = as_table(lowering, values[0])
    return replace(table, values=UNARY[node.op_type](node, table.values))


for _op in UNARY:
    rule(_op, (Stream, QAcc, Table))(_unary)


def _with_constant(lowering, node, values):
    left = isinstance(values[0], Const)
    constant = values[0 if left else 1].value
    if constant.size != 1:
        raise Reason("an element-wise constant must be a scalar")
    table = as_table(lowering, values[1 if left else 0])
    scalar = float(constant.reshape(-1)[0])
    operands = (scalar, table.values) if left else (table.values, scalar)
    return replace(table, values=BINARY[node.op_type](*operands))


def _two_tables(lowering, node, values):
    a, b = (as_table(lowering, v) for v in values[:2])
    if a.x.tensor != b.x.tensor or not np.array_equal(a.index, b.index):
        raise Reason("two different streams are combined; only residual INT16 sums can be")
    return replace(a, values=BINARY[node.op_type](a.values, b.values))


@rule("Add", (Stream, QAcc), (Stream, QAcc))
def residual_sum(lowering, node, values):
    a, b = (lowering.stream(v) for v in values[:2])
    if a.bits <= TABLE_BITS and a.tensor == b.tensor:
        return _two_tables(lowering, node, values)
    if (a.tokens, a.channels) != (b.tokens, b.channels):
        raise Reason("the two branches differ in shape")
    if a.scale != b.scale or a.bits != 16 or b.bits != 16:
        raise Reason(f"residual branches must be INT16 at one scale, got INT{a.bits} at {a.scale:g} and INT{b.bits} at {b.scale:g}")
    return Sum(a.index, a, b)


@rule("Add", (Stream, QAcc), QConst)
def positions_alone(lowering, node, values):
    """Positions without prefix tokens."""
    x = lowering.stream(values[0])
    if values[1].codes.shape != (1, x.tokens, x.channels):
        raise Reason(f"a constant of shape {list(values[1].codes.shape)} is added to {x.tokens} tokens: positions are one row each")
    index = np.arange(x.tokens * x.channels).reshape(1, x.tokens, x.channels)
    positions = values[1].value.reshape(x.tokens, x.channels)
    return Rows(index, np.zeros((0, x.channels)), x, positions)


@rule("Add", Rows, (Const, QConst))
def positions(lowering, node, values):
    rows = values[0]
    if rows.positions is not None or not is_range(rows.index):
        raise Reason("position embeddings are added once, to tokens in order")
    return replace(rows, positions=values[1].value.reshape(-1, rows.x.channels))




for _op in BINARY:
    rule(_op, Table, Const)(_with_constant)
    rule(_op, Const, Table)(_with_constant)
    rule(_op, (Stream, QAcc), Const)(_with_constant)
    rule(_op, Const, (Stream, QAcc))(_with_constant)
    rule(_op, (Table, Stream, QAcc), (Table, Stream, QAcc))(_two_tables)


@rule("LayerNormalization", (Stream, QAcc))
def layer_normalization(lowering, node, values):
    x = values[0] if isinstance(values[0], Stream) else lowering.stream(values[0])
    if attribute(node, "axis", -1) not in (-1, x.index.ndim - 1):
        raise Reason("LayerNorm must be over the channels (last axis)")
    scale = lowering.constant_input(node, 1)
    bias = lowering.constant_input(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros_like(scale)
    if not scale.size == bias.size == x.index.shape[-1]:
        raise Reason(f"gamma and beta of {scale.size} and {bias.size} entries for {x.index.shape[-1]} channels")
    if np.any(scale != 1.0) or np.any(bias != 0.0):
        raise Reason("gamma and beta must be folded into the layer that follows (gamma 1, beta 0)")
    if x.bits != 16 or not x.signed:
        raise Reason(f"LayerNorm reads the INT16 residual stream, got {x.bits} bits")
    epsilon = float(attribute(node, "epsilon", 1e-5))
    if not 0.0 <= epsilon < 1.0:
        raise Reason(f"epsilon {epsilon:g}: use one of 0 to 1, 1e-6 as a rule")
    return Normed(x.index, x, epsilon)
