"""Rotary position embedding: queries and keys whose channels are weighed by constants and added in pairs, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from finn_vitprune.graph.constants import limit
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.terms import Angles, HeadView, Linear, Mixed, View

RULES = Rules()
ROTARY = "rotary position embedding: "
HELP = "supported are pairs of channels of a head that are turned by an angle of the token, the same for queries and keys"
MOST_PARTS = 4
"""Products that are added for one element: two, and as many where prefix tokens are joined."""
EXACT = 2e-3
"""Difference of a table from cosines and sines that counts as none: constants are float32 or half precision."""


def mixed(value: View | Mixed) -> Mixed:
    """A view of a linear layer as one product.

    Raises:
        Reason: it is of something else, or a function stands on it.
    """
    if isinstance(value, Mixed):
        return value
    line = functions.affine(value.fn)
    if not isinstance(value.term, Linear) or line is None or line[1] != 0.0:
        raise Reason(f"{ROTARY}what is turned is not the result of a linear layer alone", HELP)
    return Mixed(value.term, (value.index,), (np.full(value.shape, line[0], np.float32),))


def weighed(value: View | Mixed, factor: np.ndarray) -> Mixed:
    """Every element times a constant of its own, or all times a number."""
    value = mixed(value)
    if factor.size == 1:
        return replace(value, factor=value.factor * float(factor.reshape(-1)[0]))
    shape = np.broadcast_shapes(value.shape, factor.shape)
    limit(shape)
    value = value.moved(lambda a: np.broadcast_to(a, shape))
    return replace(value, weights=tuple((w * factor).astype(np.float32) for w in value.weights))


def without_factor(value: View | Mixed) -> tuple[View | Mixed, float]:
    """The same without the number that all is multiplied by, and that number."""
    return (replace(value, factor=1.0), value.factor) if isinstance(value, Mixed) else (value, 1.0)


def _whole(value: View | Mixed) -> Mixed:
    """With the number in the weights."""
    value = mixed(value)
    return replace(value, weights=tuple(w * np.float32(value.factor) for w in value.weights), factor=1.0)


@RULES.rule("Mul Div", Mixed, Const)
@RULES.rule("Mul", Const, Mixed)
def with_constant(state: Normaliser, node: Node, values: list):
    value, factor = values if isinstance(values[0], Mixed) else values[1::-1]
    array = np.asarray(factor.value, np.float64)
    return weighed(value, array if node.op_type == "Mul" else 1.0 / array)


@RULES.rule("Neg", Mixed)
def negative(state: Normaliser, node: Node, values: list):
    return weighed(values[0], np.array(-1.0))


@RULES.rule("Add Sub", Mixed, (Mixed, View))
@RULES.rule("Add Sub", View, Mixed)
def added(state: Normaliser, node: Node, values: list):
    a, b = (_whole(v) for v in values)
    if a.term is not b.term or a.shape != b.shape or len(a.indices) + len(b.indices) > MOST_PARTS:
        raise Reason(f"{ROTARY}sums of the channels of one layer, two by two, are supported", HELP)
    sign = np.float32(-1.0 if node.op_type == "Sub" else 1.0)
    return Mixed(a.term, (*a.indices, *b.indices), (*a.weights, *(w * sign for w in b.weights)))


def joined(values: Sequence[Const | View | Mixed], axis: int) -> Mixed:
    """Tokens or channels of one layer, one part after the other.

    Raises:
        Reason: something else is among them.
    """
    parts = [_whole(v) for v in values if not isinstance(v, Const)]
    if len(parts) < len(values) or any(p.term is not parts[0].term for p in parts):
        raise Reason(f"{ROTARY}the result of a layer is joined with something else", HELP)
    count = max(len(p.indices) for p in parts)
    indices, weights = [], []
    for k in range(count):
        of_parts = [(p.indices[k], p.weights[k]) if k < len(p.indices) else (p.indices[0], np.zeros(p.shape, np.float32)) for p in parts]
        indices.append(np.concatenate([i for i, _ in of_parts], axis=axis))
        weights.append(np.concatenate([w for _, w in of_parts], axis=axis))
    return Mixed(parts[0].term, tuple(indices), tuple(weights))


# --- what a query or key is, once all is added -----------------------------------------------------


def turned(value: View | Mixed, what: str) -> tuple[HeadView, Angles, np.ndarray]:
    """A query or key ``[..., N, D']``: its heads with the channels of pairs side by side, angles, and the order ``[D']`` of the channels.

    Raises:
        Reason: it is not turned pair by pair.
    """
    found = mixed(value)
    width = found.term.columns
    indices, weights = (np.stack([a.reshape(-1, *a.shape[-2:]) for a in arrays]) for arrays in (found.indices, found.weights))
    used = weights != 0
    rows, columns = indices // width, indices % width
    tokens = np.arange(found.term.rows)
    if indices.shape[2] != len(tokens) or np.any(used & (rows != tokens[:, None])):
        raise Reason(f"{ROTARY}{what} of shape {list(found.shape)} takes channels of other tokens", HELP)
    low = np.where(used, columns, width).min((0, 2))  # [H, D'], over parts and tokens
    high = np.where(used, columns, -1).max((0, 2))
    of_low = used & (columns == low[:, None])
    of_high = used & (columns == high[:, None]) & ~of_low
    if np.any(high < 0) or np.any(used & ~of_low & ~of_high):
        raise Reason(f"{ROTARY}a channel of {what} is the sum of more than two channels, or of none", HELP)
    on_low, on_high = (np.where(of, weights, 0.0).sum(0, dtype=np.float64) for of in (of_low, of_high))  # [H, N, D']
    order, own, cos, sin = _pairs(low, high, on_low, on_high, what)
    if np.abs(cos**2 + sin**2 - 1.0).max(initial=0.0) > EXACT:
        raise Reason(f"{ROTARY}pairs of channels of {what} are scaled besides", HELP)
    angles = Angles(*(a[:1] if np.array_equal(a, np.broadcast_to(a[:1], a.shape)) else a for a in (cos, sin)))
    return HeadView(found.term, own), angles.alike(), order


def _pairs(
    low: np.ndarray, high: np.ndarray, on_low: np.ndarray, on_high: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Order of the channels ``[D']``, the layer's columns in that order ``[H, D']``, cosines and sines ``[H, N, D' / 2]``."""
    partners: dict[tuple[int, ...], list[int]] = {}
    for d in range(low.shape[1]):
        partners.setdefault((*low[:, d].tolist(), *high[:, d].tolist()), []).append(d)
    order: list[int] = []
    own, cos, sin, still = [], [], [], []
    for channels in partners.values():
        if np.array_equal(low[:, channels[0]], high[:, channels[0]]):
            still += channels
            continue
        if len(channels) != 2:
            raise Reason(f"{ROTARY}channels of {what} are not turned in pairs", HELP)
        first, second = channels
        order += channels
        for of_first, of_second, a, b in ((on_low, on_high, low, high), (on_high, on_low, high, low)):
            c, minus_s = of_first[..., first], of_second[..., first]
            if np.abs(of_second[..., second] - c).max() <= EXACT and np.abs(of_first[..., second] + minus_s).max() <= EXACT:
                own += [a[:, first], b[:, second]]
                cos.append(c)
                sin.append(-minus_s)
                break
        else:
            raise Reason(f"{ROTARY}pairs of channels of {what} are not turned by one angle", HELP)
    if np.abs(on_low[..., still] - 1.0).max(initial=0.0) > EXACT or len(still) % 2:
        raise Reason(f"{ROTARY}channels of {what} are scaled token by token, or an odd number is not turned", HELP)
    for pair in (still[i : i + 2] for i in range(0, len(still), 2)):
        order += pair
        own += [low[:, d] for d in pair]
        cos.append(np.ones(on_low.shape[:2]))
        sin.append(np.zeros(on_low.shape[:2]))
    return np.array(order), np.stack(own, -1), np.stack(cos, -1), np.stack(sin, -1)


def both_turned(q: View | Mixed, k: View | Mixed) -> tuple[HeadView, HeadView, Angles]:
    """Queries and keys that are turned alike.

    Raises:
        Reason: they are not.
    """
    if not (isinstance(q, Mixed) and isinstance(k, Mixed)):
        raise Reason(f"{ROTARY}queries or keys alone are turned", HELP)
    (q_heads, q_angles, q_order), (k_heads, k_angles, k_order) = turned(q, "the query"), turned(k, "the key")
    if not np.array_equal(q_order, k_order) or not q_angles.near(k_angles):
        raise Reason(f"{ROTARY}queries and keys are turned by different tables", HELP)
    return q_heads, k_heads, q_angles
