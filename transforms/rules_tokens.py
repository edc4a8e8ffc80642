"""Token scores and TokenDrop; the mean over tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.transforms.lower import Reason, rule
from finn_vitprune.transforms.rules_attention import scores_tensor
from finn_vitprune.transforms.rules_layout import attribute, axes_of
from finn_vitprune.transforms.values import Const, Mean, Numerator, QAcc, RowSum, Scores, Shares, Stream


def _scaled(value, factor: float):
    unit = value.unit * factor
    return replace(value, unit=unit)


@rule("Mul", (Numerator, RowSum), Const)
def scale_numerator(lowering, node, values):
    """Powers of two and 255 only move the point of E and Z: codes times ``unit``."""
    return _scaled(values[0], float(values[1].value.reshape(-1)[0]))


@rule("Div", (Numerator, RowSum), Const)
def unscale_numerator(lowering, node, values):
    return _scaled(values[0], 1.0 / float(values[1].value.reshape(-1)[0]))


@rule("Round", (Numerator, RowSum))
def round_numerator(lowering, node, values):
    return values[0]


@rule("Div", Numerator, RowSum)
def share(lowering, node, values):
    """floor(2**16 E / Z) of the class token's row: an integer division in the QONNX model."""
    e, z = values
    keys = lowering.values[e.logits.tensor].index.shape[-1]
    queries = lowering.values[e.logits.tensor].index.shape[-2]
    heads = lowering.values[e.logits.tensor].index.shape[-3]
    rows = np.arange(heads)[:, None] * queries * keys + np.arange(keys)[None, :]
    if not np.array_equal(e.index.reshape(heads, -1), rows):
        raise Reason("token scores come from the class token's query (row 0) over all keys")
    if z.e.logits.tensor != e.logits.tensor or abs(e.unit / z.unit / (1 << numerics.SCORE_BITS) - 1.0) > 1e-6:
        raise Reason("token scores are floor(2**16 E / Z) of one attention")
    index = np.arange(heads * keys).reshape(e.index.shape)
    return Shares(index, e.logits)


@rule("Floor", Shares)
def floor(lowering, node, values):
    return values[0]


@rule("ReduceMean", Stream)
def mean_over_tokens(lowering, node, values):
    """A mean over all tokens of a stream, or over all but the first ones."""
    x = values[0]
    axes = axes_of(lowering, node, values)
    if axes is None or x.index.ndim != 3 or [a % 3 for a in axes] != [1]:
        raise Reason(f"a mean is taken over the tokens (axis 1 of 3), not over axes {axes} of {x.index.ndim}")
    first = int(x.index.min()) // x.channels
    if not np.array_equal(x.index.reshape(-1), np.arange(first * x.channels, x.tokens * x.channels)):
        raise Reason("a mean over tokens takes all tokens of a stream, or all but the first ones")
    index = np.arange(x.channels).reshape((1, 1, -1) if attribute(node, "keepdims", 1) else (1, -1))
    whole = np.arange(x.tokens * x.channels).reshape(1, x.tokens, x.channels)
    return Mean(index, replace(x, index=whole), first)


@rule("ReduceSum", Shares)
def sum_over_heads(lowering, node, values):
    axes = axes_of(lowering, node, values)
    if axes is None:
        raise Reason("token scores are summed over the heads, not over everything")
    shape = values[0].index.shape
    reduced = np.add.reduce(np.ones(shape, np.int64), axis=tuple(axes))
    keys = shape[-1]
    if reduced.size != keys:
        raise Reason("token scores are summed over the heads")
    return Scores(np.arange(keys).reshape(reduced.shape), values[0].logits)


@rule("TokenDrop", (Stream, QAcc), Scores)
def token_drop(lowering, node, values):
    x, scores = lowering.stream(values[0]), values[1]
    k, mult, shift = (int(attribute(node, name)) for name in ("k", "mult", "shift"))
    scale = float(attribute(node, "scale"))
    if abs(scale / x.scale - 1.0) > 1e-6 or x.bits != 16:
        raise Reason(f"it drops INT16 tokens at the residual scale {scale:g}, got INT{x.bits} at {x.scale:g}")
    if not 1 <= k <= x.tokens - 1:
        raise Reason(f"k = {k} of {x.tokens} tokens: must be 1 to {x.tokens - 1}")
    if k == x.tokens - 1:
        return x
    scores_stream = scores_tensor(scores.logits)
    stream = lowering.new_stream(
        "VitTokenDrop", [x.tensor, scores_stream], "kept", x.scale, 16, True, tokens=x.tokens,
        channels=x.channels, k=k, mult=mult, shift=shift, inputDataType="INT16", outputDataType="INT16",
        scoreDataType=lowering.graph.datatypes[scores_stream],
    )
    lowering.record(stream, node.output[0])
    return stream
