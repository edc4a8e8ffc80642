"""Gated MLPs: the activation of some columns of a matrix product times others, quantised; one VitGate behind one matrix unit."""

from __future__ import annotations

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Rules, is_ordered, ordered
from finn_vitprune.transforms.lowering.rules import Lowering, datatype, merged_columns, record_columns
from finn_vitprune.transforms.lowering.values import Codes, Factors, GatedValues, QAcc, column_selection

RULES = Rules()
WHAT = "gated MLP: "
HELP = (
    f"quantise the activation of the gate to {numerics.GATE_BITS} bits at the scale of the results over that of the values times a power of "
    f"two, 2**-{numerics.GATE_LEAST_SHIFT} to 2**-{numerics.GATE_SHIFT}, as the models of finn_vitprune.models do"
)
STREAM_BITS = 8
"""Of codes that a table makes a stream of; wider ones are factors."""


def is_factor(bits: int) -> bool:
    """Whether a function's codes of so many bits are factors of gates."""
    return STREAM_BITS < bits <= numerics.GATE_BITS


@RULES.rule("Mul", Factors, QAcc)
@RULES.rule("Mul", QAcc, Factors)
def product(lowering: Lowering, node: Node, values: list):
    factors, other = values if isinstance(values[0], Factors) else values[1::-1]
    if factors.shape != other.shape:
        raise Reason(f"{WHAT}gates of shape {list(factors.shape)} and values of {list(other.shape)}", HELP)
    return GatedValues(ordered(factors.shape), factors, other)


def build_gate(lowering: Lowering, value: GatedValues, scale: float, bits: int, signed: bool) -> Codes:
    """The matrix unit of gates and values, side by side, and the VitGate behind it; the stream that leaves it."""
    gates, values = value.factors.x, value.values
    columns = []
    for what, part, index in (("gate", gates, value.factors.index), ("value", values, values.index)):
        found = column_selection(index, part.acc.x.tokens, len(part.acc.bias))
        if found is None:
            raise Reason(f"{WHAT}the {what} is not some channels of a matrix product, token by token")
        columns.append(found)
    if gates.acc.x.tensor != values.acc.x.tensor:
        raise Reason(f"{WHAT}gates and values are computed from different tensors")
    if (gates.bits, gates.signed) != (values.bits, values.signed) or not gates.signed or gates.narrow or values.narrow:
        raise Reason(f"{WHAT}gates and values must be signed codes of one width, of the full range")
    low, high = numerics.int_range(numerics.GATE_BITS, signed=True)
    if value.factors.codes.min() < low or value.factors.codes.max() > high:
        raise Reason(f"{WHAT}factors are {value.factors.codes.min()} to {value.factors.codes.max()}, not {low} to {high}", HELP)
    shift = numerics.shift_of_scales(value.factors.scale, values.scale, scale)
    if shift is None:
        ratio = value.factors.scale * values.scale / scale
        raise Reason(f"{WHAT}scales of factors, values and results do not go by a shift, {ratio:g} of a code", HELP)
    if not signed or bits > STREAM_BITS:
        raise Reason(f"{WHAT}the results must be signed codes of at most {STREAM_BITS} bits")
    if not is_ordered(value.index):
        raise Reason(f"{WHAT}the results are cut or reordered before they are quantised")
    count, x = len(columns[0]), gates.acc.x
    turns = np.arange(2 * count).reshape(2, count).T.reshape(-1)
    merged = merged_columns([gates.acc, values.acc], columns)
    pairs = lowering.matrix_unit(merged, turns, np.tile([gates.scale, values.scale], count), gates.bits, True)
    places = [first + 2 * np.arange(count) for first in (0, 1)]
    if gates.tensor == values.tensor:  # one Quant for both
        record_columns(lowering, gates, pairs.tensor, 2 * count, np.concatenate(places), np.concatenate(columns))
    else:
        for part, place, own in zip((gates, values), places, columns, strict=True):
            record_columns(lowering, part, pairs.tensor, 2 * count, place, own)
    entries = numerics.gate_table(value.factors.codes, shift)
    inputs = [pairs.tensor, lowering.graph.constant("gate", entries, f"INT{numerics.GATE_ENTRY_BITS}")]
    return lowering.new_stream(
        "VitGate", inputs, "gated", scale, bits, True, tokens=x.tokens, channels=2 * count,
        inputDataType=datatype(gates.bits, True), outputDataType=datatype(bits, True),
    )  # fmt: skip
