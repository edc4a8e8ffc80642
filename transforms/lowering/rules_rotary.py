"""Rotary position embedding: codes times cosines plus codes of the other channel of each pair times sines, quantised."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Rules
from finn_vitprune.numerics import ROTARY_BITS, ROTARY_ONE
from finn_vitprune.transforms.lowering.rules import Lowering, datatype
from finn_vitprune.transforms.lowering.values import QAcc, Turned, Turning, Weighed, head_columns

RULES = Rules()
HELP = "turn neighbouring channels 2i, 2i + 1 of a head by one angle: (a c - b s, b c + a s), as the models of finn_vitprune.models do"
WHAT = "rotary position embedding: "


def weighed(x: QAcc, factor: np.ndarray) -> Weighed:
    """Codes of heads times a table."""
    if np.broadcast_shapes(x.shape, factor.shape) != x.shape:
        raise Reason(f"{WHAT}queries or keys of shape {list(x.shape)} times a table of {list(factor.shape)}", HELP)
    return Weighed(x.index, x, np.broadcast_to(factor, x.shape))


@RULES.rule("Add", Weighed, Weighed)
def turned(lowering: Lowering, node: Node, values: list):
    """One of the summands has the channels in order, the other those of each pair swapped."""
    a, b = values
    if a.x.tensor != b.x.tensor or a.shape != b.shape:
        raise Reason(f"{WHAT}the summands are of different queries or keys", HELP)
    of_a, of_b = (head_columns(v.index, len(v.x.acc.bias)) for v in values)
    if of_a is None or of_b is None or of_a.shape[-1] % 2:
        raise Reason(f"{WHAT}a summand is not a [1, heads, tokens, head dim] view of one matrix product", HELP)
    for own, other, order, swapped in ((a, b, of_a, of_b), (b, a, of_b, of_a)):
        if np.array_equal(order, swapped.reshape(len(swapped), -1, 2)[..., ::-1].reshape(order.shape)) and _in_order(order):
            return Turning(own.index, own.x, _table(own.factor, other.factor))
    raise Reason(f"{WHAT}the summands do not have the channels of each pair swapped", HELP)


def _in_order(columns: np.ndarray) -> bool:
    """Whether a head's channels ``[H, D']`` rise."""
    return bool(np.all(np.diff(columns, axis=-1) > 0))


def _table(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Codes ``[H, N, D']``: c and s of each pair."""
    codes = []
    for factors in (along, across):
        scaled = np.asarray(factors, np.float64).reshape(factors.shape[-3:]) * ROTARY_ONE
        if np.any(scaled != np.rint(scaled)) or np.abs(scaled).max() > ROTARY_ONE:
            raise Reason(f"{WHAT}cosines and sines must be multiples of 1 / {ROTARY_ONE}, -1 to 1", HELP)
        codes.append(scaled.astype(np.int64))
    c, s = codes
    if not np.array_equal(c[..., ::2], c[..., 1::2]) or not np.array_equal(s[..., ::2], -s[..., 1::2]):
        raise Reason(f"{WHAT}the channels of a pair are not turned by one angle", HELP)
    return np.stack([c[..., ::2], s[..., 1::2]], axis=-1).reshape(c.shape)


def build_turn(lowering: Lowering, value: Turned, tensor: str, channels: int) -> str:
    """A VitRotary on the first channels of the stream ``tensor``, which are ``value`` head by head; the stream that leaves it.

    Heads with equal tables share one.
    """
    heads, tokens, width = value.table.shape
    shared = bool(np.all(value.table == value.table[:1]))
    table = value.table[0] if shared else value.table.transpose(1, 0, 2).reshape(tokens, -1)
    still = np.all(table.reshape(tokens, -1, 2) == (ROTARY_ONE, 0), axis=(1, 2))
    prefix = tokens if still.all() else int(np.argmin(still))
    out = lowering.graph.fresh("turned")
    inputs = [tensor, lowering.graph.constant("turns", table, f"INT{ROTARY_BITS}")]
    lowering.graph.add(
        "VitRotary", inputs, [out], tokens=tokens, channels=channels, rotated=heads * width, table_channels=table.shape[-1],
        prefix=prefix, inputDataType=datatype(value.x.bits, True),
    )  # fmt: skip
    return out


def quantised(node: Node, value: Turning, scale: float, bits: int, signed: bool) -> Turned:
    """The result of a ``Quant`` of what is turned.

    Raises:
        Reason: it has another scale or other codes than what was turned.
    """
    x = value.x
    if (scale, bits, signed) != (x.scale, x.bits, x.signed) or bits > 8:
        raise Reason(f"{WHAT}turned queries and keys keep scale and codes, {bits} bits at {scale:g} of {x.bits} bits at {x.scale:g}", HELP)
    return Turned(value.index, x, value.table, node.outputs[0], value.index)
