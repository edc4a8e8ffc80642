"""Matrix products with constants: MatMul, Gemm and their biases become block-sparse matrix units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, is_ordered, ordered
from finn_vitprune.transforms.lowering.rules import Lowering
from finn_vitprune.transforms.lowering.rules_norm import lines_of, normed_queries
from finn_vitprune.transforms.lowering.values import Acc, Codes, Image, NormedHeads, QAcc, QConst, ZeroPointed, column_selection

RULES = Rules()


def as_patches(value: Image) -> Codes:
    """The input image in patch order as the first stream: uint8 codes at scale 1."""
    shape = value.shape
    if len(shape) != 3 or shape[0] != 1:
        raise Reason(f"the image must be brought to [1, patches, pixels per patch] first, not {list(shape)}")
    return Codes(ordered(shape), value.tensor, shape[1], shape[2], 1.0, 8, False)


def _accumulate(node: Node, x: Codes, weights: QConst, bias: np.ndarray | None) -> Acc:
    if weights.codes.ndim != 2 or weights.codes.shape[0] != x.channels:
        raise Reason(f"weights of shape {list(weights.codes.shape)} do not fit {x.channels} channels")
    scale = weights.scale
    if not np.all(scale == scale[:1]):
        raise Reason("weight scales must be per output channel or per tensor")
    columns = weights.codes.shape[1]
    bias = np.zeros(columns) if bias is None else np.asarray(bias, np.float64).reshape(-1)
    return Acc(ordered((*x.shape[:-1], columns)), x, weights.codes, scale[0].astype(np.float64), bias, node.name)


@RULES.rule("MatMul", Image, QConst)
def embed_patches(lowering: Lowering, node: Node, values: list):
    return _accumulate(node, as_patches(values[0]), values[1], None)


@RULES.rule("MatMul", Codes, QConst)
def linear(lowering: Lowering, node: Node, values: list):
    return _accumulate(node, lowering.stream(values[0]), values[1], None)


@RULES.rule("MatMul", NormedHeads, QConst)
def scaled_queries(lowering: Lowering, node: Node, values: list):
    """Gamma and beta of normalised queries: a diagonal matrix on whole tokens."""
    value = values[0]
    lines = lines_of(value.whole)
    tokens, columns = value.acc.x.tokens, len(value.acc.bias)
    found = column_selection(value.index, tokens, columns)
    if found is None or not np.array_equal(lines.reshape(-1), value.index.reshape(-1)):
        raise Reason("normalised queries are cut or reordered before they are scaled: a matrix reads whole tokens, head by head")
    return _accumulate(node, normed_queries(lowering, value, found.reshape(-1, lines.shape[-1])), values[1], None)


@RULES.rule("MatMul", ZeroPointed, QConst)
def linear_of_zero_pointed(lowering: Lowering, node: Node, values: list):
    """s (q - z) W = s q W - s z (the sums of the columns of W)."""
    codes = replace(values[0].codes, index=values[0].index)
    acc = _accumulate(node, lowering.stream(codes), values[1], None)
    return replace(acc, bias=acc.bias - values[0].zero * codes.scale * acc.weight_scale * acc.weights.sum(0))


@RULES.rule("MatMul", (Codes, ZeroPointed, Image, QAcc), Const)
@RULES.rule("Gemm", (Codes, ZeroPointed), Const)
def float_weights(lowering: Lowering, node: Node, values: list):
    raise Reason("its weights are not quantised; put a Quant node on them (Brevitas QuantLinear does)")


@RULES.rule("Gemm", Codes, QConst)
def gemm(lowering: Lowering, node: Node, values: list):
    given = node.attributes
    if given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0 or given.get("transA", 0):
        raise Reason("alpha and beta must be 1 and transA 0")
    weights = values[1].moved(np.transpose) if given.get("transB", 0) else values[1]
    bias = None
    if len(values) > 2 and values[2] is not None:
        if not isinstance(values[2], (Const, QConst)):
            raise Reason("the bias must be a constant", "", node.inputs[2])
        bias = values[2].value
    return _accumulate(node, lowering.stream(values[0]), weights, bias)


@RULES.rule("Add", Acc, (Const, QConst))
@RULES.rule("Add", (Const, QConst), Acc)
def add_bias(lowering: Lowering, node: Node, values: list):
    acc, constant = values if isinstance(values[0], Acc) else values[::-1]
    if not is_ordered(acc.index):
        raise Reason("a bias is added after the matrix product was reordered")
    bias = np.asarray(constant.value, np.float64).reshape(-1)
    return replace(acc, bias=acc.bias + np.broadcast_to(bias, acc.bias.shape))
