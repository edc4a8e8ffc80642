"""Attention with deferred softmax: from q k^T to the division, one PrunedAttention per encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, is_ordered, numbers, ordered
from finn_vitprune.transforms.lowering.rules import AttentionMatch, Lowering, datatype, merged_columns, record_columns
from finn_vitprune.transforms.lowering.rules_norm import head_norm, lines_of, normed_queries
from finn_vitprune.transforms.lowering.rules_rotary import build_turn
from finn_vitprune.transforms.lowering.values import (
    Acc,
    AttentionOutput,
    Codes,
    Diff,
    ExpDiff,
    Logits,
    NormedHeads,
    Numerator,
    OfHeads,
    PoolKey,
    QAcc,
    QConst,
    QueryKey,
    RoundedHeads,
    RowMax,
    RowSum,
    Turned,
    Weighted,
    head_columns,
)

RULES = Rules()


SAME_SCALE = 1e-5
"""Scales may differ by this share: they are float32."""
BIAS = "relative position bias: "
BIAS_HELP = "add codes of 8 bits at s_q s_k 2^t, t 0 or more, before the logits are quantised, as the models of finn_vitprune.models do"
QK_NORM = "give queries, keys and values 16 bits, then keys a norm, queries a norm and a diagonal matrix, as the models of finn_vitprune.models do"


def _heads(value: QAcc | Turned | NormedHeads | RoundedHeads, what: str) -> np.ndarray:
    columns = head_columns(value.index, len(value.acc.bias))
    if isinstance(value, NormedHeads) and not np.array_equal(lines_of(value.index), lines_of(value.whole)):
        raise Reason(f"{what} is normalised over other channels than those of its heads")
    if columns is None or (isinstance(value, Turned) and not value.whole_heads):
        raise Reason(f"{what} is not a [1, heads, tokens, head dim] view of one matrix product")
    return columns


@RULES.rule("MatMul", (QAcc, Turned, NormedHeads), (QAcc, Turned, NormedHeads))
def query_key(lowering: Lowering, node: Node, values: list):
    q, k = values
    k = k.moved(lambda a: np.swapaxes(a, -1, -2))
    q_columns, k_columns = _heads(q, "the query"), _heads(k, "the key")
    if q_columns.shape != k_columns.shape:
        raise Reason(f"query and key differ in heads or width: {q_columns.shape} and {k_columns.shape}")
    if isinstance(q, NormedHeads) and not isinstance(k, NormedHeads):
        raise Reason("QK-norm of queries alone: keys have one, too", QK_NORM)
    if isinstance(q, Turned) != isinstance(k, Turned):
        raise Reason("rotary position embedding of queries alone, or of keys alone: both are turned")
    heads, queries, keys = q_columns.shape[0], q.acc.x.tokens, k.acc.x.tokens
    return QueryKey(ordered((1, heads, queries, keys)), q, k)


@RULES.rule("MatMul", QConst, QAcc)
def pool_key(lowering: Lowering, node: Node, values: list):
    """A query that is the same for every image: attention pooling."""
    q, k = values
    k = k.moved(lambda a: np.swapaxes(a, -1, -2))
    heads, head_dim = _heads(k, "the key").shape
    if q.shape != (1, heads, 1, head_dim):
        raise Reason(
            f"a constant query of shape {list(q.shape)}: attention pooling has one query, [1, {heads}, 1, {head_dim}] for these keys"
        )
    if not np.all(q.scale == q.scale.reshape(-1)[0]):
        raise Reason("activations need one scale per tensor, and so does a constant query")
    return PoolKey(ordered((1, heads, 1, k.acc.x.tokens)), q.moved(lambda a: a.reshape(heads, head_dim)), k)


@RULES.rule("Mul Div", (QueryKey, PoolKey), Const)
def scaled(lowering: Lowering, node: Node, values: list):
    product, constant = values
    factor = constant.value if node.op_type == "Mul" else 1.0 / constant.value
    if factor.size != 1:
        raise Reason("attention logits can only be multiplied with one scalar")
    if isinstance(product, QueryKey) and product.bias is not None:
        raise Reason(f"{BIAS}products of queries and keys are multiplied after it is added", BIAS_HELP)
    return replace(product, factor=product.factor * float(factor.reshape(-1)[0]))


@RULES.rule("Add", QueryKey, QConst)
def biased(lowering: Lowering, node: Node, values: list):
    """A relative position bias, of codes at a power of two times the scale of the products."""
    product, bias = values
    if product.bias is not None or not is_ordered(product.index) or np.broadcast_shapes(bias.shape, product.shape) != product.shape:
        raise Reason(f"{BIAS}a table of {list(bias.shape)} is added to products of {list(product.shape)}", BIAS_HELP)
    scale = float(bias.scale.reshape(-1)[0])
    shift = round(float(np.log2(scale / (product.q.scale * product.k.scale * product.factor))))
    wanted = product.q.scale * product.k.scale * product.factor * 2.0**shift
    if not np.all(bias.scale == scale) or shift < 0 or abs(scale / wanted - 1) > SAME_SCALE:
        raise Reason(
            f"{BIAS}its scale is {scale:g}, that of products of queries and keys times a power of two, 1 or more, is possible", BIAS_HELP
        )
    lo, hi = numerics.int_range(numerics.BIAS_BITS, signed=True)
    if bias.codes.min() < lo or bias.codes.max() > hi:
        raise Reason(f"{BIAS}codes of {bias.codes.min()} to {bias.codes.max()}: {numerics.BIAS_BITS} bits are possible", BIAS_HELP)
    return replace(product, bias=np.broadcast_to(bias.codes, product.shape).reshape(product.shape[-3:]), bias_shift=shift)


def _over_last_axis(node: Node, values: list) -> None:
    axes, rank = numbers(node, values, 1, "axes"), len(values[0].shape)
    if axes is None or [a % rank for a in axes] != [rank - 1]:
        raise Reason("softmax rows are over the keys (last axis)")


@RULES.rule("ReduceMax", Logits)
def row_maximum(lowering: Lowering, node: Node, values: list):
    _over_last_axis(node, values)
    return RowMax(values[0].index[..., :1], values[0])


@RULES.rule("Sub", Logits, RowMax)
def difference(lowering: Lowering, node: Node, values: list):
    if not np.array_equal(values[0].index[..., :1], values[1].index):
        raise Reason("the largest logit of a row is subtracted from another row")
    return Diff(values[0].index, values[0])


@RULES.rule("Exp", Diff)
def exponential(lowering: Lowering, node: Node, values: list):
    return ExpDiff(values[0].index, values[0].logits)


@RULES.rule("Softmax", (Logits, QueryKey, PoolKey))
def softmax(lowering: Lowering, node: Node, values: list):
    raise Reason(
        "softmax is deferred in this hardware: export ReduceMax, Sub, Exp, Quant(UINT8, 1/255), MatMul, ReduceSum, "
        "Div, Quant (the models of finn_vitprune.models do)"
    )


@RULES.rule("ReduceSum", Numerator)
def row_sum(lowering: Lowering, node: Node, values: list):
    _over_last_axis(node, values)
    index = values[0].index[..., :1] // values[0].index.shape[-1]
    return RowSum(index, values[0], values[0].unit)


@RULES.rule("MatMul", Numerator, (QAcc, RoundedHeads))
def weighted_values(lowering: Lowering, node: Node, values: list):
    e, v = values
    heads, head_dim = _heads(v, "the value").shape
    if not is_ordered(e.index):
        raise Reason("the softmax numerators are cut or reordered before they meet the values")
    return Weighted(ordered((1, e.shape[-2], heads, head_dim)).swapaxes(1, 2), e, v)


@RULES.rule("Div", Weighted, RowSum)
def normalise(lowering: Lowering, node: Node, values: list):
    weighted, total = values
    if total.e.logits.tensor != weighted.e.logits.tensor:
        raise Reason("the row sum belongs to another attention")
    if not is_ordered(total.index):
        raise Reason("the row sums are cut or reordered before the division")
    return AttentionOutput(weighted.index, weighted.e, weighted.v)


@dataclass(frozen=True)
class _Streams:
    """What an attention engine reads: tensors of ``queries`` queries and of keys and values of ``x``'s tokens."""

    query: str
    keyvalue: str
    queries: int
    heads: int
    head_dim: int


def _normed_streams(lowering: Lowering, product: QueryKey, v: QAcc | RoundedHeads) -> _Streams:
    """Q in a matrix unit of its own, with its norm, K and V in another one; the norm of K passes V."""
    q, k = product.q, product.k
    assert isinstance(k, NormedHeads)
    columns = [_heads(q, "the query"), *_key_and_value(k, v)]
    heads, head_dim = columns[0].shape
    if any(c.shape != (heads, head_dim) for c in columns):
        raise Reason("query, key and value differ in heads or width")
    if not isinstance(v, RoundedHeads) or k.acc.x.tensor != v.acc.x.tensor:
        raise Reason("QK-norm: values are no INT16 codes of the tensor that keys are computed from", QK_NORM)
    if len({(p.bits, p.signed) for p in (q, k, v)}) != 1:
        raise Reason("query, key and value must be signed codes of one width")
    width = heads * head_dim
    if isinstance(q, NormedHeads):
        query = normed_queries(lowering, q, columns[0])
    else:
        query = lowering.matrix_unit(q.acc, columns[0].reshape(-1), np.full(width, q.scale), q.bits, True)
        record_columns(lowering, q, query.tensor, width, np.arange(width), columns[0])
    merged, scales = merged_columns([k.acc, v.acc], columns[1:]), np.repeat([k.x.scale, v.x.scale], width)
    wide = lowering.matrix_unit(merged, np.arange(2 * width), scales, k.x.bits, True)
    keyvalue = head_norm(lowering, k, wide.tensor, wide.tokens, (heads, heads), head_dim)
    for value, first, own in ((k, 0, columns[1]), (v, width, columns[2])):
        _record_heads(lowering, value.x, wide.tensor, 2 * width, first, own)
        _record_heads(lowering, value, keyvalue, 2 * width, first, own)
    return _Streams(query.tensor, keyvalue, query.tokens, heads, head_dim)


def _streams(lowering: Lowering, product: QueryKey, v: QAcc | RoundedHeads) -> _Streams:
    """Q, K, V in one matrix unit, split."""
    q, k = product.q, product.k
    if isinstance(k, NormedHeads):
        return _normed_streams(lowering, product, v)
    columns = [_heads(q, "the query"), *_key_and_value(k, v)]
    heads, head_dim = columns[0].shape
    if any(c.shape != (heads, head_dim) for c in columns):
        raise Reason("query, key and value differ in heads or width")
    if any(p.acc.x.tensor != q.acc.x.tensor for p in (k, v)):
        raise Reason("query, key and value are computed from different tensors (cross attention)")
    if len({(p.bits, p.signed) for p in (q, k, v)}) != 1 or not q.signed:
        raise Reason("query, key and value must be signed codes of one width")
    merged = merged_columns([p.acc for p in (q, k, v)], columns)
    width = heads * head_dim
    out_scale = np.repeat([q.scale, k.scale, v.scale], width)
    x = q.acc.x
    qkv = lowering.matrix_unit(merged, np.arange(3 * width), out_scale, q.bits, True)
    tensors = [lowering.graph.fresh("query"), lowering.graph.fresh("keyvalue")]
    code = datatype(q.bits, True)
    lowering.graph.add("VitSplit", [qkv.tensor], tensors, tokens=x.tokens, channels=3 * width, first=width, inputDataType=code)
    for i, (value, channels) in enumerate(((q, width), (k, 2 * width))):
        if isinstance(value, Turned):
            _record_heads(lowering, value.x, tensors[i], channels, 0, columns[i])
            tensors[i] = build_turn(lowering, value, tensors[i], channels)
        _record_heads(lowering, value, tensors[i], channels, 0, columns[i])
    _record_heads(lowering, v, tensors[1], 2 * width, width, columns[2])
    return _Streams(tensors[0], tensors[1], x.tokens, heads, head_dim)


def _pool_streams(lowering: Lowering, product: PoolKey, v: QAcc | RoundedHeads) -> _Streams:
    """K and V in one matrix unit; the query in one without weights, whose biases come once an image."""
    q, k = product.q, product.k
    columns = _key_and_value(k, v)
    heads, head_dim = columns[0].shape
    if columns[1].shape != (heads, head_dim):
        raise Reason("key and value differ in heads or width")
    x, width = k.acc.x, heads * head_dim
    if x.tensor != v.acc.x.tensor:
        raise Reason("key and value are computed from different tensors")
    if (k.bits, k.signed) != (v.bits, v.signed) or not k.signed:
        raise Reason("key and value must be signed codes of one width")
    lo, hi = numerics.int_range(k.bits, True)
    if q.codes.min() < lo or q.codes.max() > hi:
        raise Reason(f"the constant query has codes of {q.codes.min()} to {q.codes.max()}, keys have {k.bits} bits")
    merged = merged_columns([k.acc, v.acc], columns)
    keyvalue = lowering.matrix_unit(merged, np.arange(2 * width), np.repeat([k.scale, v.scale], width), k.bits, True)
    _record_heads(lowering, k, keyvalue.tensor, 2 * width, 0, columns[0])
    _record_heads(lowering, v, keyvalue.tensor, 2 * width, width, columns[1])
    first = lowering.stream(replace(x, index=ordered((1, 1, x.channels))))
    scale = q.scale.reshape(-1)[:1]
    nothing = Acc(ordered((1, 1, width)), first, np.zeros((x.channels, width), np.int64), np.ones(width), q.codes.reshape(-1) * scale)
    query = lowering.matrix_unit(nothing, np.arange(width), np.repeat(scale, width), k.bits, True)
    return _Streams(query.tensor, keyvalue.tensor, 1, heads, head_dim)


def _key_and_value(k: QAcc | Turned | NormedHeads, v: QAcc | RoundedHeads) -> list[np.ndarray]:
    return [_heads(k, "the key"), _heads(v, "the value")]


def build_attention(lowering: Lowering, attended: AttentionOutput, scale: float, bits: int) -> Codes:
    """The matrix units of Q, K and V, and the attention engine; the output stream of the engine."""
    logits, v = attended.e.logits, attended.v
    product = logits.product
    found = _streams(lowering, product, v) if isinstance(product, QueryKey) else _pool_streams(lowering, product, v)
    x, heads, q_scale = v.acc.x, found.heads, float(np.ravel(product.q.scale)[0])
    mult, shift = lowering.requant_constants(np.array([q_scale * product.k.scale * product.factor / logits.scale]))
    num, recip_shift = numerics.reciprocal_constant(v.scale / scale)
    table = lowering.graph.constant("exp_table", numerics.exp_table(logits.scale), "UINT8")
    inputs, bias = [found.query, found.keyvalue, table], {}
    if isinstance(product, QueryKey) and product.bias is not None:
        inputs.append(lowering.graph.constant("position_bias", product.bias, f"INT{numerics.BIAS_BITS}"))
        bias = {"bias_bits": numerics.BIAS_BITS, "bias_shift": product.bias_shift}
    out = lowering.graph.fresh("attention")
    outputs = [out, scores_tensor(logits)]
    score_bits = numerics.SCORE_BITS + 1 + int(heads - 1).bit_length()
    lowering.graph.add(
        "PrunedAttention",
        inputs,
        outputs,
        tokens=x.tokens,
        queries=found.queries,
        heads=heads,
        head_dim=found.head_dim,
        scores=1,
        logit_mult=int(mult[0]),
        logit_shift=shift,
        logit_bits=logits.bits,
        recip_num=num,
        recip_shift=recip_shift,
        inputDataType=datatype(v.bits, True),
        outputDataType=datatype(bits, True),
        scoreDataType=f"UINT{score_bits}",
        **bias,
    )
    lowering.attentions.append(AttentionMatch(out, logits.tensor, logits.scale, attended.e.tensor))
    width = heads * found.head_dim
    return Codes(ordered((1, found.queries, width)), out, found.queries, width, scale, bits, True)


def scores_tensor(logits: Logits) -> str:
    """Hardware tensor of the token scores of the attention that these logits belong to."""
    return f"scores_of_{logits.tensor}"


def _record_heads(lowering: Lowering, value: QAcc | Turned | OfHeads, tensor: str, channels: int, first: int, columns: np.ndarray) -> None:
    """Heads lie side by side from the channel ``first`` on."""
    record_columns(lowering, value, tensor, channels, first + np.arange(columns.size), columns)
