"""Attention with deferred softmax: from q k^T to the division, one PrunedAttention per encoder."""

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
    Diff,
    ExpDiff,
    Logits,
    Numerator,
    Product,
    QAcc,
    RowMax,
    RowSum,
    Stream,
    Weighted,
    head_columns,
)


def _heads(value: QAcc, what: str) -> np.ndarray:
    columns = head_columns(value.index, len(value.acc.bias))
    if columns is None:
        raise Reason(f"{what} is not a [1, heads, tokens, head dim] view of one matrix product")
    return columns


@rule("MatMul", QAcc, QAcc)
def query_key(lowering, node, values):
    q, k = values
    k = replace(k, index=np.swapaxes(k.index, -1, -2))
    q_columns, k_columns = _heads(q, "the query"), _heads(k, "the key")
    if q_columns.shape != k_columns.shape:
        raise Reason(f"query and key differ in heads or width: {q_columns.shape} and {k_columns.shape}")
    heads, queries, keys = q_columns.shape[0], q.acc.x.tokens, k.acc.x.tokens
    return Product(np.arange(heads * queries * keys).reshape(1, heads, queries, keys), q, k)


def _scaled(product: Product, factor: np.ndarray) -> Product:
    if factor.size != 1:
        raise Reason("attention logits can only be multiplied with one scalar")
    return replace(product, factor=product.factor * float(factor.reshape(-1)[0]))


@rule("Mul", Product, Const)
def scale_logits(lowering, node, values):
    return _scaled(values[0], values[1].value)


@rule("Div", Product, Const)
def divide_logits(lowering, node, values):
    return _scaled(values[0], 1.0 / values[1].value)


def _over_last_axis(lowering, node, rank: int) -> None:
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        axes = lowering.constant_input(node, 1)
    if axes is None or [int(a) % rank for a in np.asarray(axes).reshape(-1)] != [rank - 1]:
        raise Reason("softmax rows are over the keys (last axis)")


@rule("ReduceMax", Logits)
def row_maximum(lowering, node, values):
    _over_last_axis(lowering, node, values[0].index.ndim)
    return RowMax(values[0].index[..., :1], values[0])


@rule("Sub", Logits, RowMax)
def difference(lowering, node, values):
    return Diff(values[0].index, values[0])


@rule("Exp", Diff)
def exponential(lowering, node, values):
    return ExpDiff(values[0].index, values[0].logits)


@rule("Softmax", Logits)
@rule("Softmax", Product)
def softmax(lowering, node, values):
    raise Reason(
        "softmax is deferred in this hardware: export ReduceMax, Sub, Exp, Quant(UINT8, 1/255), MatMul, ReduceSum, "
        "Div, Quant (the models of finn_vitprune.models do)"
    )


@rule("ReduceSum", Numerator)
def row_sum(lowering, node, values):
    _over_last_axis(lowering, node, values[0].index.ndim)
    index = values[0].index[..., :1] // values[0].index.shape[-1]
    return RowSum(index, values[0], values[0].unit)


@rule("MatMul", Numerator, QAcc)
def weighted_values(lowering, node, values):
    e, v = values
    columns = _heads(v, "the value")
    heads, head_dim = columns.shape
    queries = e.index.shape[-2]
    index = (
        np.arange(queries)[None, :, None] * heads * head_dim
        + np.arange(heads)[:, None, None] * head_dim
        + np.arange(head_dim)[None, None, :]
    )
    return Weighted(index[None], e, v)


@rule("Div", Weighted, RowSum)
def normalise(lowering, node, values):
    weighted, total = values
    if total.e.logits.tensor != weighted.e.logits.tensor:
        raise Reason("the row sum belongs to another attention")
    return Attended(weighted.index, weighted.e, weighted.v)


def build_attention(lowering, attended: Attended, scale: float, bits: int) -> Stream:
    """Q, K, V in one matrix unit, split, and the attention engine; the output stream of the engine."""
    from finn_vitprune.transforms.rules_linear import build_matrix_unit

    logits = attended.e.logits
    q, k, v = logits.product.q, logits.product.k, attended.v
    columns = [_heads(q, "the query"), _heads(k, "the key"), _heads(v, "the value")]
    heads, head_dim = columns[0].shape
    if any(c.shape != (heads, head_dim) for c in columns):
        raise Reason("query, key and value differ in heads or width")
    if any(p.acc.x.tensor != q.acc.x.tensor for p in (k, v)):
        raise Reason("query, key and value are computed from different tensors (cross attention)")
    if len({(p.bits, p.signed) for p in (q, k, v)}) != 1 or not q.signed:
        raise Reason("query, key and value must be signed codes of one width")
    merged = _merge([p.acc for p in (q, k, v)], columns)
    width = heads * head_dim
    out_scale = np.repeat([q.scale, k.scale, v.scale], width)
    x = q.acc.x
    qkv = build_matrix_unit(lowering, x, merged, np.arange(3 * width), out_scale, q.bits, True)
    tensors = [lowering.graph.fresh("query"), lowering.graph.fresh("keyvalue")]
    code = datatype(q.bits, True)
    lowering.graph.add(
        "VitSplit", [qkv.tensor], tensors, tokens=x.tokens, channels=3 * width, first=width, inputDataType=code
    )
    _record_heads(lowering, q, tensors[0], width, 0, columns[0])
    _record_heads(lowering, k, tensors[1], 2 * width, 0, columns[1])
    _record_heads(lowering, v, tensors[1], 2 * width, width, columns[2])

    factor = logits.product.factor
    mult, shift = lowering.requant_constants(np.array([q.scale * k.scale * factor / logits.scale]))
    num, recip_shift = numerics.reciprocal_constant(v.scale / scale)
    table = lowering.graph.constant("exp_table", numerics.exp_table(logits.scale), "UINT8")
    out = lowering.graph.fresh("attention")
    outputs = [out, scores_tensor(logits)]
    score_bits = numerics.SCORE_BITS + 1 + int(heads - 1).bit_length()
    lowering.graph.add(
        "PrunedAttention", [*tensors, table], outputs, tokens=x.tokens, queries=x.tokens, heads=heads,
        head_dim=head_dim, scores=1, logit_mult=int(mult[0]), logit_shift=shift, logit_bits=logits.bits,
        recip_num=num, recip_shift=recip_shift, inputDataType=code, outputDataType=datatype(bits, True),
        scoreDataType=f"UINT{score_bits}",
    )
    return Stream(np.arange(x.tokens * width).reshape(1, x.tokens, width), out, x.tokens, width, scale, bits, True)


def scores_tensor(logits: Logits) -> str:
    """Hardware tensor of the token scores of the attention that these logits belong to."""
    return f"scores_of_{logits.tensor}"


def _merge(accs: list[Acc], columns: list[np.ndarray]) -> Acc:
    flat = [c.reshape(-1) for c in columns]
    return replace(
        accs[0],
        weights=np.concatenate([a.weights[:, c] for a, c in zip(accs, flat)], axis=1),
        weight_scale=np.concatenate([a.weight_scale[c] for a, c in zip(accs, flat)]),
        bias=np.concatenate([a.bias[c] for a, c in zip(accs, flat)]),
    )


def _record_heads(lowering, value: QAcc, tensor: str, channels: int, first: int, columns: np.ndarray) -> None:
    """Where the QONNX tensor (in any layout) lies in the hardware stream: column of acc to channel."""
    tokens = value.acc.x.tokens
    place = np.full(len(value.acc.bias), -1)
    place[columns.reshape(-1)] = first + np.arange(columns.size)
    original = lowering.values[value.tensor].index
    token, column = np.divmod(original, len(value.acc.bias))
    index = token * channels + place[column]
    lowering.record(Stream(index, tensor, tokens, channels, value.scale, value.bits, True), value.tensor)
