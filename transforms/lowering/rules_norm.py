"""LayerNorm, and RMSNorm spelt out (a stream over the root of the mean of its squares plus eps): of tokens, and of the heads of queries and keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, constant, numbers, optional
from finn_vitprune.transforms.lowering.rules import Lowering, datatype, record_columns
from finn_vitprune.transforms.lowering.values import Codes, MeanSquare, Normed, NormedHeads, QAcc, Squares, UnquantisedHeads

RULES = Rules()
HELP = "x / sqrt(mean of x x + eps) over the channels, as the models of finn_vitprune.models have it"


@RULES.rule("LayerNormalization", (Codes, QAcc))
def layer_normalization(lowering: Lowering, node: Node, values: list):
    x = _read(lowering, values[0])
    if node.attributes.get("axis", -1) not in (-1, x.index.ndim - 1):
        raise Reason("LayerNorm must be over the channels (last axis)")
    scale = constant(node, values, 1)
    bias = optional(node, values, 2)
    bias = np.zeros_like(scale) if bias is None else bias
    if not scale.size == bias.size == x.index.shape[-1]:
        raise Reason(f"gamma and beta of {scale.size} and {bias.size} entries for {x.index.shape[-1]} channels")
    if np.any(scale != 1.0) or np.any(bias != 0.0):
        raise Reason("gamma and beta must be folded into the layer that follows (gamma 1, beta 0)")
    return _normed(x, float(node.attributes.get("epsilon", 1e-5)), centred=True)


def _read(lowering: Lowering, x: Codes | QAcc) -> Codes | QAcc:
    """What a norm reads: a stream, or heads of a matrix product that is built when it is known what else it makes."""
    return x if isinstance(x, Codes) or len(x.shape) == 4 else lowering.stream(x)


def _normed(x: Codes | QAcc, epsilon: float, centred: bool) -> Normed | UnquantisedHeads:
    name, width = "LayerNorm" if centred else "RMSNorm", x.shape[-1]
    if x.bits != 16 or not x.signed:
        raise Reason(f"{name} reads {'INT16 queries and keys' if isinstance(x, QAcc) else 'the INT16 residual stream'}, got {x.bits} bits")
    if not 0.0 <= epsilon < 1.0:
        raise Reason(f"epsilon {epsilon:g}: use one of 0 to 1, 1e-6 as a rule")
    if isinstance(x, QAcc):
        lines = x.index.reshape(-1, width)
        if not np.array_equal(lines, lines[:, :1] + np.arange(width)):
            raise Reason(f"{name} over {width} channels that are not side by side: a head is a part of a token's channels in order")
        return UnquantisedHeads(x.index, x, epsilon, centred)
    if width != x.channels:
        raise Reason(f"{name} over {width} of the {x.channels} channels of a token")
    return Normed(x.index, x, epsilon, centred)


# --- RMSNorm -------------------------------------------------------------------------------------


def squares(lowering: Lowering, x: Codes | QAcc) -> Squares:
    """The squares of a stream, or of heads, that are too wide for a table."""
    x = _read(lowering, x)
    return Squares(x.index, x)


@RULES.rule("ReduceMean", Squares)
def mean_square(lowering: Lowering, node: Node, values: list):
    axes, rank = numbers(node, values, 1, "axes"), len(values[0].shape)
    if axes is None or [a % rank for a in axes] != [rank - 1] or not node.attributes.get("keepdims", 1):
        raise Reason("RMSNorm: the mean of the squares is not over the channels (last axis, which stays)", HELP)
    return MeanSquare(values[0].index[..., :1], values[0].x, values[0].index)


@RULES.rule("Add", MeanSquare, Const)
@RULES.rule("Add", Const, MeanSquare)
def plus_eps(lowering: Lowering, node: Node, values: list):
    spread, number = values if isinstance(values[0], MeanSquare) else values[::-1]
    if spread.root or number.value.size != 1:
        raise Reason("RMSNorm: eps is one number, added to the mean of the squares", HELP)
    return replace(spread, eps=spread.eps + float(number.value.reshape(-1)[0]))


@RULES.rule("Sqrt", MeanSquare)
def root(lowering: Lowering, node: Node, values: list):
    if values[0].root:
        raise Reason("RMSNorm: the root of a root", HELP)
    return replace(values[0], root=True)


@RULES.rule("Div", (Codes, QAcc), MeanSquare)
def over_root(lowering: Lowering, node: Node, values: list):
    x, spread = values
    x = _read(lowering, x)
    if not spread.root or x.tensor != spread.x.tensor or not np.array_equal(x.index, spread.whole):
        raise Reason("RMSNorm: a tensor is not divided by the root of the mean of its own squares", HELP)
    if not np.array_equal(spread.index, spread.whole[..., :1]):
        raise Reason("RMSNorm: the means are cut or reordered before the division", HELP)
    return _normed(x, spread.eps, centred=False)


# --- heads ---------------------------------------------------------------------------------------


def lines_of(index: np.ndarray) -> np.ndarray:
    """The lines of an index ``[..., D']``, by their first position."""
    lines = index.reshape(-1, index.shape[-1])
    return lines[np.argsort(lines[:, 0])]


def normed_queries(lowering: Lowering, value: NormedHeads, columns: np.ndarray) -> Codes:
    """A matrix unit of ``columns`` ``[H, D']`` of the product, the heads, and their norm; the stream that leaves it."""
    x, (heads, width) = value.x, columns.shape
    flat = columns.reshape(-1)
    made = lowering.matrix_unit(x.acc, flat, np.full(flat.size, x.scale), x.bits, True)
    record_columns(lowering, x, made.tensor, flat.size, np.arange(flat.size), flat)
    out = head_norm(lowering, value, made.tensor, made.tokens, (heads, 0), width)
    record_columns(lowering, value, out, flat.size, np.arange(flat.size), flat)
    return Codes(made.index, out, made.tokens, flat.size, value.scale, value.bits, True)


def head_norm(lowering: Lowering, value: NormedHeads, tensor: str, tokens: int, rows: tuple[int, int], width: int) -> str:
    """A VitLayerNorm on the stream ``tensor``, which has so many heads that are normed and so many that pass; the stream that leaves it."""
    normed, passed = rows
    eps, mult, shift = numerics.layernorm_constants(width, value.eps, value.x.scale, value.scale)
    out, own = lowering.graph.fresh("normed"), {"rows": normed + passed, "passed": passed} | ({} if value.centred else {"centred": 0})
    lowering.graph.add(
        "VitLayerNorm", [tensor], [out], tokens=tokens, channels=(normed + passed) * width, eps=eps, mult=mult, shift=shift,
        inputDataType=datatype(value.x.bits, True), outputDataType=datatype(value.bits, True), **own,
    )  # fmt: skip
    return out
