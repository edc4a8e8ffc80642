"""The way of the tokens: the patch order of the image on the host, rows joined, token scores and TokenDrop, the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.graph import layout
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import ANY, Const, Rules, axis_of, constant, numbers, ordered
from finn_vitprune.graph.walk import all_constant, evaluated
from finn_vitprune.transforms.lowering.rules import Lowering
from finn_vitprune.transforms.lowering.rules_attention import scores_tensor
from finn_vitprune.transforms.lowering.values import Codes, Image, MeanOfTokens, Numerator, QAcc, QConst, Rows, RowSum, Shares, TokenScores

RULES = Rules()


@RULES.rule("Reshape Flatten Transpose Squeeze Unsqueeze Slice Gather", Image)
def on_host(lowering: Lowering, node: Node, values: list):
    """The patch order of the input image: a copy of the node, with its constants."""
    apply = layout.RULES.find(node.op_type, values)
    assert apply is not None  # the layout rules take every known value
    moved = apply(lowering, node, values)
    assert isinstance(moved, Image)
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
    """Constants together, or constant rows (class token, distillation token, registers) before a stream of tokens."""
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


@RULES.rule("Mul Div", (Numerator, RowSum), Const)
def scaled(lowering: Lowering, node: Node, values: list):
    """Powers of two and 255 only move the point of E and Z: codes times ``unit``."""
    factor = float(values[1].value.reshape(-1)[0])
    return replace(values[0], unit=values[0].unit * (factor if node.op_type == "Mul" else 1.0 / factor))


@RULES.rule("Round", (Numerator, RowSum))
@RULES.rule("Floor", Shares)
def rounded(lowering: Lowering, node: Node, values: list):
    return values[0]


@RULES.rule("Div", Numerator, RowSum)
def share(lowering: Lowering, node: Node, values: list):
    """floor(2**16 E / Z) of the first token's row: an integer division in the QONNX model."""
    e, z = values
    heads, queries, keys = e.logits.whole[-3:]
    rows = np.arange(heads)[:, None] * queries * keys + np.arange(keys)[None, :]
    if not np.array_equal(e.index.reshape(heads, -1), rows):
        raise Reason("token scores come from the first token's query (row 0) over all keys")
    if z.e.logits.tensor != e.logits.tensor or abs(e.unit / z.unit / (1 << numerics.SCORE_BITS) - 1.0) > 1e-6:
        raise Reason("token scores are floor(2**16 E / Z) of one attention")
    return Shares(ordered(e.shape), e.logits)


@RULES.rule("ReduceMean", Codes)
def mean_over_tokens(lowering: Lowering, node: Node, values: list):
    """A mean over all tokens of a stream, or over all but the first ones."""
    x = values[0]
    axes = numbers(node, values, 1, "axes")
    if axes is None or x.index.ndim != 3 or [a % 3 for a in axes] != [1]:
        raise Reason(f"a mean is taken over the tokens (axis 1 of 3), not over axes {axes} of {x.index.ndim}")
    first = int(x.index.min()) // x.channels
    if not np.array_equal(x.index.reshape(-1), np.arange(first * x.channels, x.tokens * x.channels)):
        raise Reason("a mean over tokens takes all tokens of a stream, or all but the first ones")
    index = ordered((1, 1, x.channels) if node.attributes.get("keepdims", 1) else (1, x.channels))
    return MeanOfTokens(index, replace(x, index=ordered((1, x.tokens, x.channels))), first)


@RULES.rule("ReduceSum", Shares)
def sum_over_heads(lowering: Lowering, node: Node, values: list):
    axes = numbers(node, values, 1, "axes")
    if axes is None:
        raise Reason("token scores are summed over the heads, not over everything")
    shape = values[0].shape
    reduced = np.add.reduce(np.ones(shape, np.int64), axis=tuple(axes))
    if reduced.size != shape[-1]:
        raise Reason("token scores are summed over the heads")
    return TokenScores(ordered(reduced.shape), values[0].logits)


@RULES.rule("TokenDrop", (Codes, QAcc), TokenScores)
def token_drop(lowering: Lowering, node: Node, values: list):
    x, scores = lowering.stream(values[0]), values[1]
    k, mult, shift = (int(node.attributes[name]) for name in ("k", "mult", "shift"))
    prefix = int(node.attributes.get("prefix", 1))
    scale = float(node.attributes["scale"])
    if abs(scale / x.scale - 1.0) > 1e-6 or x.bits != 16:
        raise Reason(f"it drops INT16 tokens at the residual scale {scale:g}, got INT{x.bits} at {x.scale:g}")
    if not 1 <= prefix < x.tokens:
        raise Reason(f"prefix = {prefix} of {x.tokens} tokens: must be 1 to {x.tokens - 1}")
    if not 1 <= k <= x.tokens - prefix:
        raise Reason(f"k = {k} of {x.tokens} tokens, {prefix} of which always stay: must be 1 to {x.tokens - prefix}")
    if k == x.tokens - prefix:
        return x
    scores_stream = scores_tensor(scores.logits)
    lowering.record(Codes(ordered(scores.shape), scores_stream, x.tokens, 1, 1.0, 0, False), node.inputs[1])
    stream = lowering.new_stream(
        "VitTokenDrop",
        [x.tensor, scores_stream],
        "kept",
        x.scale,
        16,
        True,
        tokens=x.tokens,
        channels=x.channels,
        k=k,
        prefix=prefix,
        mult=mult,
        shift=shift,
        inputDataType="INT16",
        outputDataType="INT16",
        scoreDataType=lowering.graph.datatypes[scores_stream],
    )
    lowering.record(stream, node.outputs[0])
    return stream
