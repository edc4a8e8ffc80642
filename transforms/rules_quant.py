"""``Quant``: the node that fixes codes and scale, and with them the hardware op of what was pending."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.transforms.lower import Reason, datatype, rule
from finn_vitprune.transforms.rules_layout import attribute
from finn_vitprune.transforms.values import (
    Acc,
    Attended,
    Const,
    ExpDiff,
    Image,
    Logits,
    Mean,
    Normed,
    Numerator,
    Product,
    QAcc,
    QConst,
    Rows,
    Stream,
    Sum,
    Table,
)

ROUNDING = ("ROUND", "HALF_EVEN")
MAX_BITS = 32
"""Widest codes that are read; the residual stream has 16."""


def parameters(lowering, node) -> tuple[np.ndarray, int, bool, bool]:
    """``(scale, bits, signed, narrow)`` of a Quant node; refuses zero points and other rounding modes."""
    scale, zero, bits = (lowering.constant_input(node, i) for i in (1, 2, 3))
    mode = attribute(node, "rounding_mode", b"ROUND").decode().upper()
    if mode not in ROUNDING:
        raise Reason(f"rounding mode {mode}: codes are rounded half to even (ROUND)")
    if np.any(zero != 0):
        raise Reason(f"zero point {zero.reshape(-1)[0]}: quantisation must be symmetric (zero point 0)")
    if bits.size != 1 or float(bits) != int(bits):
        raise Reason("the bit width must be one integer")
    if not 1 <= bits <= MAX_BITS:
        raise Reason(f"a bit width of {float(bits):g}: codes have 1 to {MAX_BITS} bits")
    return scale.astype(np.float64), int(bits), bool(attribute(node, "signed", 1)), bool(attribute(node, "narrow", 0))


def _activation(lowering, node) -> tuple[float, int, bool, bool]:
    scale, bits, signed, narrow = parameters(lowering, node)
    if scale.size != 1:
        raise Reason("activations need one scale per tensor")
    return float(scale.reshape(-1)[0]), bits, signed, narrow


@rule("Quant", Const)
def constant(lowering, node, values):
    scale, bits, signed, narrow = parameters(lowering, node)
    lo, hi = numerics.int_range(bits, signed)
    full = np.broadcast_to(scale, np.broadcast_shapes(scale.shape, values[0].value.shape))
    codes = np.clip(np.rint(values[0].value / full), lo + int(narrow and signed), hi).astype(np.int64)
    return QConst(codes, np.array(full))


@rule("Quant", Image)
def image(lowering, node, values):
    scale, bits, signed, _ = _activation(lowering, node)
    if (scale, bits, signed) != (1.0, 8, False):
        raise Reason("pixels are uint8 codes: the input needs no Quant, or one with scale 1, 8 bits, unsigned")
    return values[0]


@rule("Quant", Acc)
def accumulators(lowering, node, values):
    scale, bits, signed, narrow = _activation(lowering, node)
    return QAcc(values[0].index, values[0], scale, bits, signed, narrow, tensor=node.output[0])


@rule("Quant", Stream)
def rescale(lowering, node, values):
    """The same codes under the same scale, or a VitRequant to another one."""
    x = values[0]
    scale, bits, signed, _ = _activation(lowering, node)
    if scale == x.scale and bits >= x.bits and signed == x.signed:
        return x
    x = lowering.stream(x)
    mult, shift = lowering.requant_constants(np.array([x.scale / scale]))
    stream = lowering.new_stream(
        "VitRequant", [x.tensor, lowering.graph.constant("mult", mult, "UINT17")], "requant", scale, bits, signed,
        tokens=x.tokens, channels=x.channels, shift=shift, per_channel=0,
        inputDataType=datatype(x.bits, x.signed), outputDataType=datatype(bits, signed),
    )
    return _finish(lowering, node, stream, x.index)


@rule("Quant", Normed)
def layernorm(lowering, node, values):
    normed = values[0]
    scale, bits, signed, _ = _activation(lowering, node)
    if not signed:
        raise Reason("a LayerNorm output is signed")
    x = lowering.stream(replace(normed.x, index=normed.index))
    eps, mult, shift = numerics.layernorm_constants(x.channels, normed.eps, x.scale, scale)
    stream = lowering.new_stream(
        "VitLayerNorm", [x.tensor], "norm", scale, bits, True, tokens=x.tokens, channels=x.channels,
        eps=eps, mult=mult, shift=shift, inputDataType=datatype(x.bits, x.signed), outputDataType=datatype(bits, True),
    )
    return _finish(lowering, node, stream, normed.index)


@rule("Quant", Table)
def table(lowering, node, values):
    scale, bits, signed, _ = _activation(lowering, node)
    x = lowering.stream(replace(values[0].x, index=values[0].index))
    lo, hi = numerics.int_range(bits, signed)
    codes = np.clip(np.rint(values[0].values / np.float32(scale)), lo, hi).astype(np.int64)
    stream = lowering.new_stream(
        "VitLookup", [x.tensor, lowering.graph.constant("table", codes, datatype(bits, signed))], "lookup",
        scale, bits, signed, tokens=x.tokens, channels=x.channels,
        inputDataType=datatype(x.bits, x.signed), outputDataType=datatype(bits, signed),
    )
    return _finish(lowering, node, stream, values[0].index)


@rule("Quant", Sum)
def residual(lowering, node, values):
    a, b = values[0].a, values[0].b
    scale, bits, signed, _ = _activation(lowering, node)
    if scale != a.scale or (bits, signed) != (16, True):
        raise Reason("a residual sum stays INT16 at the scale of its inputs")
    stream = lowering.new_stream(
        "VitAdd", [a.tensor, b.tensor], "residual", scale, bits, signed, tokens=a.tokens, channels=a.channels,
        inputDataType=datatype(a.bits, a.signed), outputDataType=datatype(bits, signed),
    )
    return _finish(lowering, node, stream, values[0].index)


@rule("Quant", Rows)
def token_embedding(lowering, node, values):
    rows = values[0]
    scale, bits, signed, _ = _activation(lowering, node)
    x = rows.x
    if scale != x.scale or (bits, signed) != (16, True):
        raise Reason("class token, positions and patches must share one INT16 scale")
    if rows.positions is None:
        return rows
    codes = [np.rint(a / scale).astype(np.int64) for a in (rows.prefix, rows.positions)]
    inputs = [x.tensor] + [
        lowering.graph.constant(stem, c, "INT16") for stem, c in zip(("prefix", "positions"), codes)
    ]
    stream = lowering.new_stream(
        "VitTokenEmbed", inputs, "embed", scale, 16, True, tokens_in=x.tokens, prefix=len(rows.prefix),
        channels=x.channels, inputDataType=datatype(x.bits, x.signed), outputDataType="INT16",
    )
    return _finish(lowering, node, stream, rows.index)


@rule("Quant", Mean)
def token_mean(lowering, node, values):
    """s_x / (N s_y) = mult 2**-shift over the sum of N tokens."""
    x, first = values[0].x, values[0].first
    scale, bits, signed, _ = _activation(lowering, node)
    if not signed or not x.signed:
        raise Reason("a mean over tokens is signed, and so are its tokens")
    mult, shift = lowering.requant_constants(np.array(x.scale / ((x.tokens - first) * scale)))
    stream = lowering.new_stream(
        "VitTokenMean", [x.tensor], "mean", scale, bits, True, tokens=x.tokens, channels=x.channels, first=first,
        mult=int(mult), shift=shift, inputDataType=datatype(x.bits, True), outputDataType=datatype(bits, True),
    )
    return _finish(lowering, node, stream, values[0].index)


@rule("Quant", Product)
def logits(lowering, node, values):
    scale, bits, signed, _ = _activation(lowering, node)
    if not signed or bits > 8:
        raise Reason("attention logits are signed codes of at most 8 bits")
    return Logits(values[0].index, values[0], scale, bits, tensor=node.output[0])


@rule("Quant", ExpDiff)
def numerators(lowering, node, values):
    scale, bits, signed, _ = _activation(lowering, node)
    if signed or bits != 8 or abs(scale * numerics.EXP_MAX - 1.0) > 1e-6:
        raise Reason("softmax numerators are UINT8 with scale 1/255, so that the row maximum is 255")
    return Numerator(values[0].index, values[0].logits, unit=1.0 / numerics.EXP_MAX)


@rule("Quant", Attended)
def attention_output(lowering, node, values):
    from finn_vitprune.transforms.rules_attention import build_attention

    scale, bits, signed, _ = _activation(lowering, node)
    if not signed:
        raise Reason("an attention output is signed")
    stream = build_attention(lowering, values[0], scale, bits)
    return _finish(lowering, node, stream, values[0].index)


def _finish(lowering, node, stream: Stream, index: np.ndarray) -> Stream:
    """Give the new stream the shape of the ONNX tensor and note the correspondence.

    ``index`` tells the order in which the ONNX tensor shows the base; whole streams built from a part
    (one token) are in order by construction.
    """
    if index.size != stream.tokens * stream.channels or index.max() >= index.size:
        index = np.arange(stream.tokens * stream.channels).reshape(index.shape)
    result = replace(stream, index=index)
    lowering.record(result, node.output[0])
    return result
