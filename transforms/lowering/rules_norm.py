"""LayerNorm, and RMSNorm spelt out: a stream over the root of the mean of its squares plus eps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, constant, numbers, optional
from finn_vitprune.transforms.lowering.rules import Lowering
from finn_vitprune.transforms.lowering.values import Codes, MeanSquare, Normed, QAcc, Squares

RULES = Rules()
HELP = "x / sqrt(mean of x x + eps) over the channels, as the models of finn_vitprune.models have it"


@RULES.rule("LayerNormalization", (Codes, QAcc))
def layer_normalization(lowering: Lowering, node: Node, values: list):
    x = values[0] if isinstance(values[0], Codes) else lowering.stream(values[0])
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


def _normed(x: Codes, epsilon: float, centred: bool) -> Normed:
    name = "LayerNorm" if centred else "RMSNorm"
    if x.bits != 16 or not x.signed:
        raise Reason(f"{name} reads the INT16 residual stream, got {x.bits} bits")
    if x.index.shape[-1] != x.channels:
        raise Reason(f"{name} over {x.index.shape[-1]} of the {x.channels} channels of a token")
    if not 0.0 <= epsilon < 1.0:
        raise Reason(f"epsilon {epsilon:g}: use one of 0 to 1, 1e-6 as a rule")
    return Normed(x.index, x, epsilon, centred)


# --- RMSNorm -------------------------------------------------------------------------------------


def squares(x: Codes) -> Squares:
    """The squares of a stream that is too wide for a table."""
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
    x = x if isinstance(x, Codes) else lowering.stream(x)
    if not spread.root or x.tensor != spread.x.tensor or not np.array_equal(x.index, spread.whole):
        raise Reason("RMSNorm: a tensor is not divided by the root of the mean of its own squares", HELP)
    if not np.array_equal(spread.index, spread.whole[..., :1]):
        raise Reason("RMSNorm: the means are cut or reordered before the division", HELP)
    return _normed(x, spread.eps, centred=False)
