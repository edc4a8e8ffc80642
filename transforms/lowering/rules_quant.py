"""``Quant``: the node that fixes codes and scale, and with them the hardware op of what was pending."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Indexed, Rules, constant
from finn_vitprune.transforms.lowering import rules_gate, rules_norm, rules_rotary
from finn_vitprune.transforms.lowering.rules import Lowering, datatype
from finn_vitprune.transforms.lowering.rules_attention import build_attention
from finn_vitprune.transforms.lowering.values import (
    Acc,
    AttentionOutput,
    Codes,
    CodeSum,
    CodeTable,
    ExpDiff,
    Factors,
    GatedValues,
    Image,
    Logits,
    MeanOfTokens,
    Normed,
    NormedHeads,
    Numerator,
    PoolKey,
    QAcc,
    QConst,
    QueryKey,
    RoundedHeads,
    Rows,
    Turning,
    UnquantisedHeads,
    ZeroPointed,
)

RULES = Rules()
ROUNDING = ("ROUND", "HALF_EVEN")
MAX_BITS = 32
"""Widest codes that are read; the residual stream has 16."""


Scale = TypeVar("Scale", float, np.ndarray)


@dataclass(frozen=True)
class Quantiser(Generic[Scale]):
    """Parameters of a Quant node; ``scale`` is a number for activations, an array for constants."""

    scale: Scale
    bits: int
    signed: bool
    narrow: bool
    zero: int = 0

    @property
    def datatype(self) -> str:
        """qonnx name of the codes."""
        return datatype(self.bits, self.signed)


def parameters(node: Node, values: list) -> Quantiser[np.ndarray]:
    """Scale, bits, sign, range and zero point of a Quant node; other rounding modes are rejected."""
    scale, zero, bits = (constant(node, values, i) for i in (1, 2, 3))
    mode = str(node.attributes.get("rounding_mode", "ROUND")).upper()
    if mode not in ROUNDING:
        raise Reason(f"rounding mode {mode}: codes are rounded half to even (ROUND)")
    if not zero.size or np.any(zero != zero.reshape(-1)[0]) or np.any(zero != np.rint(zero)) or np.any(abs(zero) > 1 << MAX_BITS):
        raise Reason(f"the zero point must be one integer of at most {MAX_BITS} bits")
    if bits.size != 1 or float(bits) != int(bits):
        raise Reason("the bit width must be one integer")
    if not 1 <= bits <= MAX_BITS:
        raise Reason(f"a bit width of {float(bits):g}: codes have 1 to {MAX_BITS} bits")
    signed, narrow = (bool(node.attributes.get(*default)) for default in (("signed", 1), ("narrow", 0)))
    return Quantiser(scale.astype(np.float64), int(bits), signed, narrow, int(zero.reshape(-1)[0]))


def _symmetric(found: Quantiser[Scale]) -> Quantiser[Scale]:
    if found.zero != 0:
        raise Reason(f"zero point {found.zero}: quantisation must be symmetric (zero point 0) but where a function's output is quantised")
    return found


def _activation(node: Node, values: list) -> Quantiser[float]:
    return _symmetric(_with_zero_point(node, values))


def _with_zero_point(node: Node, values: list) -> Quantiser[float]:
    found = parameters(node, values)
    if found.scale.size != 1:
        raise Reason("activations need one scale per tensor")
    return Quantiser(float(found.scale.reshape(-1)[0]), found.bits, found.signed, found.narrow, found.zero)


def _unit(
    lowering: Lowering, node: Node, op_type: str, x: Codes, inputs: list[str], to: Quantiser[float], value: Indexed, stem: str, **attributes
) -> Codes:
    """A node that reads the stream ``x`` (and ``inputs``) and stands for ``value`` quantised by ``to``."""
    stream = lowering.new_stream(
        op_type,
        [x.tensor, *inputs],
        stem,
        to.scale,
        to.bits,
        to.signed,
        channels=x.channels,
        inputDataType=datatype(x.bits, x.signed),
        outputDataType=to.datatype,
        **attributes,
    )
    return _finish(lowering, node, stream, value.index, to.zero)


def _finish(lowering: Lowering, node: Node, stream: Codes, index: np.ndarray, zero: int = 0) -> Codes:
    """Give the new stream the shape of the ONNX tensor and note the correspondence.

    ``index`` tells the order in which the ONNX tensor shows the base; whole streams built from a part
    (one token) are in order by construction.
    """
    if index.size != stream.tokens * stream.channels or index.max() >= index.size:
        index = np.arange(stream.tokens * stream.channels).reshape(index.shape)
    result = replace(stream, index=index)
    lowering.record(result, node.outputs[0], zero)
    return result


@RULES.rule("Quant", Const)
def constants(lowering: Lowering, node: Node, values: list):
    to = _symmetric(parameters(node, values))
    lo, hi = numerics.int_range(to.bits, to.signed)
    full = np.broadcast_to(to.scale, np.broadcast_shapes(to.scale.shape, values[0].shape))
    codes = np.clip(np.rint(values[0].value / full), lo + int(to.narrow and to.signed), hi).astype(np.int64)
    return QConst(codes, np.array(full))


@RULES.rule("Quant", Image)
def image(lowering: Lowering, node: Node, values: list):
    to = _activation(node, values)
    if (to.scale, to.bits, to.signed) != (1.0, 8, False):
        raise Reason("pixels are uint8 codes: the input needs no Quant, or one with scale 1, 8 bits, unsigned")
    return values[0]


@RULES.rule("Quant", Acc)
def accumulators(lowering: Lowering, node: Node, values: list):
    to = _activation(node, values)
    index = values[0].index
    return QAcc(index, values[0], to.scale, to.bits, to.signed, to.narrow, node.outputs[0], index)


@RULES.rule("Quant", Codes)
def rescale(lowering: Lowering, node: Node, values: list):
    """The same codes under the same scale, or a VitRequant to another one."""
    x, to = values[0], _activation(node, values)
    if to.scale == x.scale and to.bits >= x.bits and to.signed == x.signed:
        return x
    x = lowering.stream(x)
    mult, shift = lowering.requant_constants(np.array([x.scale / to.scale]))
    inputs = [lowering.graph.constant("mult", mult, "UINT17")]
    return _unit(lowering, node, "VitRequant", x, inputs, to, x, "requant", tokens=x.tokens, shift=shift, per_channel=0)


@RULES.rule("Quant", Turning)
def turned(lowering: Lowering, node: Node, values: list):
    to = _activation(node, values)
    return rules_rotary.quantised(node, values[0], to.scale, to.bits, to.signed)


@RULES.rule("Quant", Normed)
def layernorm(lowering: Lowering, node: Node, values: list):
    normed, to = values[0], _activation(node, values)
    if not to.signed:
        raise Reason("the quantiser of a LayerNorm output is unsigned: use a signed one")
    x = lowering.stream(replace(normed.x, index=normed.index))
    eps, mult, shift = numerics.layernorm_constants(x.channels, normed.eps, x.scale, to.scale)
    own = {} if normed.centred else {"centred": 0}
    return _unit(lowering, node, "VitLayerNorm", x, [], to, normed, "norm", tokens=x.tokens, eps=eps, mult=mult, shift=shift, **own)


@RULES.rule("Quant", UnquantisedHeads)
def head_norm(lowering: Lowering, node: Node, values: list):
    normed, to = values[0], _activation(node, values)
    if not to.signed:
        raise Reason("the quantiser of normalised queries or keys is unsigned: use a signed one")
    if not np.array_equal(rules_norm.lines_of(normed.index), rules_norm.lines_of(normed.x.index)):
        raise Reason("heads are cut or joined between their norm and its quantiser")
    return NormedHeads(
        normed.index, normed.x, to.scale, to.bits, node.outputs[0], normed.index, eps=normed.eps, centred=normed.centred
    )  # fmt: skip


@RULES.rule("Quant", QAcc)
def of_accumulators(lowering: Lowering, node: Node, values: list):
    """Wide codes of heads, the values beside normalised keys, leave with these; others become a stream."""
    x, to = values[0], _activation(node, values)
    if len(x.shape) != 4 or x.bits != 16 or not x.signed:
        return rescale(lowering, node, [lowering.stream(x), *values[1:]])
    if not to.signed or to.bits > 8 or to.scale != x.scale * 2.0 ** (x.bits - to.bits):
        text = f"INT16 codes of heads at {x.scale:g} are rounded to {to.bits} bits at {to.scale:g}"
        raise Reason(text, f"values beside normalised keys keep their upper bits, of 2^{x.bits - to.bits} times the scale")
    return RoundedHeads(x.index, x, to.scale, to.bits, node.outputs[0], x.index)


@RULES.rule("Quant", CodeTable)
def table(lowering: Lowering, node: Node, values: list):
    """Entries round(f / s + z): the table holds any zero point."""
    found, to = values[0], _with_zero_point(node, values)
    lo, hi = numerics.int_range(to.bits, to.signed)
    codes = np.clip(np.rint(found.values / to.scale + to.zero), lo, hi).astype(np.int64)
    if isinstance(found.x, QAcc) and rules_gate.is_factor(to.bits):
        return Factors(found.index, found.x, codes - to.zero, to.scale)
    x = lowering.stream(replace(found.x, index=found.index))
    inputs = [lowering.graph.constant("table", codes, to.datatype)]
    stream = _unit(lowering, node, "VitLookup", x, inputs, to, x, "lookup", tokens=x.tokens)
    return stream if to.zero == 0 else ZeroPointed(stream.index, stream, to.zero)


@RULES.rule("Quant", GatedValues)
def gated(lowering: Lowering, node: Node, values: list):
    to = _activation(node, values)
    stream = rules_gate.build_gate(lowering, values[0], to.scale, to.bits, to.signed)
    return _finish(lowering, node, stream, values[0].index)


@RULES.rule("Quant", CodeSum)
def residual(lowering: Lowering, node: Node, values: list):
    a, b, to = values[0].a, values[0].b, _activation(node, values)
    if to.scale != a.scale or (to.bits, to.signed) != (16, True):
        raise Reason("a residual sum stays INT16 at the scale of its inputs")
    return _unit(lowering, node, "VitAdd", a, [b.tensor], to, values[0], "residual", tokens=a.tokens)


@RULES.rule("Quant", Rows)
def token_embedding(lowering: Lowering, node: Node, values: list):
    rows, to = values[0], _activation(node, values)
    x = rows.x
    if to.scale != x.scale or (to.bits, to.signed) != (16, True):
        raise Reason("class token, positions and patches must share one INT16 scale")
    if rows.positions is None:
        return rows
    inputs = [
        lowering.graph.constant(stem, np.rint(array / to.scale).astype(np.int64), "INT16")
        for stem, array in (("prefix", rows.prefix), ("positions", rows.positions))
    ]
    return _unit(lowering, node, "VitTokenEmbed", x, inputs, to, rows, "embed", tokens_in=x.tokens, prefix=len(rows.prefix))


@RULES.rule("Quant", MeanOfTokens)
def token_mean(lowering: Lowering, node: Node, values: list):
    """s_x / (N s_y) = mult 2**-shift over the sum of N tokens."""
    x, first, to = values[0].x, values[0].first, _activation(node, values)
    if not to.signed or not x.signed:
        raise Reason("a mean over tokens is signed, and so are its tokens")
    mult, shift = lowering.requant_constants(np.array(x.scale / ((x.tokens - first) * to.scale)))
    return _unit(lowering, node, "VitTokenMean", x, [], to, values[0], "mean", tokens=x.tokens, first=first, mult=int(mult), shift=shift)


@RULES.rule("Quant", (QueryKey, PoolKey))
def logits(lowering: Lowering, node: Node, values: list):
    to = _activation(node, values)
    if not to.signed or to.bits > 8:
        raise Reason("attention logits are signed codes of at most 8 bits")
    return Logits(values[0].index, values[0], to.scale, to.bits, node.outputs[0], values[0].shape)


@RULES.rule("Quant", ExpDiff)
def numerators(lowering: Lowering, node: Node, values: list):
    to = _activation(node, values)
    if to.signed or to.bits != 8 or abs(to.scale * numerics.EXP_MAX - 1.0) > 1e-6:
        raise Reason("softmax numerators are UINT8 with scale 1/255, so that the row maximum is 255")
    return Numerator(values[0].index, values[0].logits, unit=1.0 / numerics.EXP_MAX, tensor=node.outputs[0])


@RULES.rule("Quant", AttentionOutput)
def attention_output(lowering: Lowering, node: Node, values: list):
    to = _activation(node, values)
    if not to.signed:
        raise Reason("the quantiser of an attention output is unsigned: use a signed one")
    stream = build_attention(lowering, values[0], to.scale, to.bits)
    return _finish(lowering, node, stream, values[0].index)
