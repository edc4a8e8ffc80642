"""Matrix products with constants: MatMul, Gemm and their biases become block-sparse matrix units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.transforms.lower import Reason, datatype, rule
from finn_vitprune.transforms.rules_layout import attribute
from finn_vitprune.transforms.values import Acc, Const, Image, QAcc, QConst, Stream, is_range



def as_patches(lowering, value: Image) -> Stream:
    """The input image in patch order as the first stream: uint8 codes at scale 1."""
    shape = value.index.shape
    if len(shape) != 3 or shape[0] != 1:
        raise Reason(f"the image must be brought to [1, patches, pixels per patch] first, not {list(shape)}")
    index = np.arange(value.index.size).reshape(shape)
    return Stream(index, value.tensor, shape[1], shape[2], 1.0, 8, False)


def _accumulate(lowering, node, x: Stream, weights: QConst, bias: np.ndarray | None) -> Acc:
    if weights.codes.ndim != 2 or weights.codes.shape[0] != x.channels:
        raise Reason(f"weights of shape {list(weights.codes.shape)} do not fit {x.channels} channels")
    scale = weights.scale
    if not np.all(scale == scale[:1]):
        raise Reason("weight scales must be per output channel or per tensor")
    columns = weights.codes.shape[1]
    bias = np.zeros(columns) if bias is None else np.asarray(bias, np.float64).reshape(-1)
    index = np.arange(x.tokens * columns).reshape(*x.index.shape[:-1], columns)
    return Acc(index, x, weights.codes, scale[0].astype(np.float64), bias, node.name)


@rule("MatMul", Image, QConst)
def embed_patches(lowering, node, values):
    return _accumulate(lowering, node, as_patches(lowering, values[0]), values[1], None)


@rule("MatMul", Stream, QConst)
def linear(lowering, node, values):
    return _accumulate(lowering, node, lowering.stream(values[0]), values[1], None)


@rule("MatMul", Stream, Const)
@rule("MatMul", Image, Const)
@rule("MatMul", QAcc, Const)
@rule("Gemm", Stream, Const)
def float_weights(lowering, node, values):
    raise Reason("its weights are not quantised; put a Quant node on them (Brevitas QuantLinear does)")


@rule("Gemm", Stream, QConst)
def gemm(lowering, node, values):
    if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0 or attribute(node, "transA", 0):
        raise Reason("alpha and beta must be 1 and transA 0")
    weights = values[1].view(np.transpose) if attribute(node, "transB", 0) else values[1]
    bias = None
    if len(values) > 2:
        if not isinstance(values[2], (Const, QConst)):
            raise Reason("the bias must be a constant")
        bias = values[2].value
    return _accumulate(lowering, node, lowering.stream(values[0]), weights, bias)


def _add_bias(acc: Acc, bias: np.ndarray) -> Acc:
    if not is_range(acc.index):
        raise Reason("a bias is added after the matrix product was reordered")
    return replace(acc, bias=acc.bias + np.broadcast_to(np.asarray(bias, np.float64).reshape(-1), acc.bias.shape))


@rule("Add", Acc, (Const, QConst))
def bias_right(lowering, node, values):
    return _add_bias(values[0], values[1].value)


@rule("Add", (Const, QConst), Acc)
def bias_left(lowering, node, values):
    return _add_bias(values[1], values[0].value)


def _integer_bias(acc: Acc, columns: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return np.rint(acc.bias[columns] / unit).astype(np.int64)


def _live_scale(weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Column scales with those of all-zero columns replaced, since Brevitas gives these a floor value."""
    live = weights.any(axis=0)
    if live.all() or not live.any():
        return scale
    return np.where(live, scale, np.median(scale[live]))


def build_matrix_unit(
    lowering, x: Stream, acc: Acc, columns: np.ndarray, out_scale: np.ndarray, bits: int, signed: bool,
    narrow: bool = False,
) -> Stream:
    """A BlockSparseMVAU that requantises ``columns`` of ``acc`` to codes at ``out_scale`` (one per column)."""
    if narrow:
        raise Reason("activations must use the full range of codes (narrow range is for weights)")
    weights = acc.weights[:, columns]
    scale = _live_scale(weights, acc.weight_scale[columns])
    unit = x.scale * scale
    mult, shift = lowering.requant_constants(unit / out_scale)
    wbits = weight_bits(weights)
    inputs = [
        x.tensor,
        lowering.graph.constant("weights", weights, f"INT{wbits}"),
        lowering.graph.constant("bias", _integer_bias(acc, columns, unit), "INT32"),
        lowering.graph.constant("mult", mult, "UINT17"),
    ]
    return lowering.new_stream(
        "BlockSparseMVAU", inputs, "mvau", float(out_scale[0]), bits, signed,
        tokens=x.tokens, MW=x.channels, MH=len(columns), block=block_size(lowering), requant=1, shift=shift,
        inputDataType=datatype(x.bits, x.signed), weightDataType=f"INT{wbits}",
        outputDataType=datatype(bits, signed),
    )


def build_logits(lowering, acc: Acc) -> Stream:
    """The classifier: raw accumulators when all columns share one scale, else codes on one common grid."""
    x = acc.x
    scale = _live_scale(acc.weights, acc.weight_scale)
    wbits = weight_bits(acc.weights)
    common = dict(
        tokens=x.tokens, MW=x.channels, MH=acc.weights.shape[1], block=block_size(lowering),
        inputDataType=datatype(x.bits, x.signed), weightDataType=f"INT{wbits}", outputDataType="INT32",
    )
    inputs = [
        x.tensor,
        lowering.graph.constant("weights", acc.weights, f"INT{wbits}"),
        lowering.graph.constant("bias", _integer_bias(acc, np.arange(len(scale)), x.scale * scale), "INT32"),
    ]
    if np.all(scale == scale[0]):
        stream = lowering.new_stream(
            "BlockSparseMVAU", inputs, "logits", x.scale * scale[0], 32, True, requant=0, shift=0, **common
        )
    else:
        mult, shift = lowering.requant_constants(scale / scale.max())
        inputs.append(lowering.graph.constant("mult", mult, "UINT17"))
        stream = lowering.new_stream(
            "BlockSparseMVAU", inputs, "logits", x.scale * scale.max(), 32, True, requant=1, shift=shift, **common
        )
    return replace(stream, index=acc.index)


def weight_bits(weights: np.ndarray) -> int:
    """Narrowest of 2, 4, 8 bits that holds the codes; 8 bits at most."""
    largest = int(np.abs(weights).max(initial=0))
    for bits in (2, 4, 8):
        if largest < 1 << (bits - 1):
            return bits
    raise Reason(f"weight code {largest} needs more than 8 bits")


def block_size(lowering) -> int:
    """Block size from the model's metadata, 8 where the model has none."""
    return int(lowering.source.get_metadata_prop("block_size") or 8)
