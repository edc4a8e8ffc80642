"""numerics.attention and PrunedAttention.compute against exact fractions and against a float softmax."""

import math
from fractions import Fraction

import numpy as np
import pytest
from finn.util.basic import getHWCustomOp

from finn_vitprune import numerics
from finn_vitprune.custom_ops.registry import make_node


def _rint(value: Fraction) -> int:
    """Nearest integer of an exact fraction, ties to even, from the definition."""
    low = math.floor(value)
    gap = value - low
    return low + (gap > Fraction(1, 2) or (gap == Fraction(1, 2) and low % 2 == 1))


def _clip(value: int, bits: int) -> int:
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def attention_by_definition(q, k, v, table, c):
    """One frame in Python integers and fractions, loop by loop. q ``[H][NQ][D]``, k and v ``[H][N][D]``."""
    heads, tokens = len(k), len(k[0])
    scores = [0] * tokens
    out = []
    for h in range(heads):
        rows = []
        for i, row in enumerate(q[h]):
            products = [sum(a * b for a, b in zip(row, key)) for key in k[h]]
            exact = [Fraction(p * c.logit_mult, 2**c.logit_shift) for p in products]
            logits = [_clip(_rint(x), c.logit_bits) for x in exact]
            e = [table[max(logits) - x] for x in logits]
            z = sum(e)
            recip = math.floor(Fraction(c.recip_num, z))
            sums = [sum(e[j] * v[h][j][d] for j in range(tokens)) for d in range(len(v[h][0]))]
            rows.append([_clip(_rint(Fraction(s * recip, 2**c.recip_shift)), c.out_bits) for s in sums])
            if i == 0:
                scores = [s + math.floor(Fraction(2**16 * x, z)) for s, x in zip(scores, e)]
        out.append(rows)
    return out, scores


def _constants(bits, logit_bits, head_dim, ratio=1.5):
    mult, shift = numerics.snap_ratio(2 ** (logit_bits - 1) / (3 * np.sqrt(head_dim) * (2**bits / 3.46) ** 2))
    reciprocal = numerics.reciprocal_constant(ratio)
    return numerics.AttentionConstants(int(mult), shift, logit_bits, *reciprocal, bits)


@pytest.mark.parametrize("bits, logit_bits", [(8, 8), (4, 6), (4, 4), (6, 8)])
@pytest.mark.parametrize("heads, queries, tokens, dim", [(1, 7, 7, 4), (3, 1, 9, 5), (2, 6, 6, 8), (2, 1, 1, 4)])
def test_attention_equals_exact_fractions(bits, logit_bits, heads, queries, tokens, dim):
    rng = np.random.default_rng(bits * 100 + tokens)
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1)
    q, k, v = (rng.integers(lo, hi, (heads, n, dim)) for n in (queries, tokens, tokens))
    c = _constants(bits, logit_bits, dim)
    table = numerics.exp_table(8 / 2**logit_bits)
    out, scores = numerics.attention(q, k, v, table, c)
    expected = attention_by_definition(q.tolist(), k.tolist(), v.tolist(), table.tolist(), c)
    assert out.tolist() == expected[0]
    assert scores.tolist() == expected[1]


def test_attention_follows_float_softmax():
    """Dequantised O is softmax(q k^T / sqrt(D)) v within what the code widths allow."""
    rng = np.random.default_rng(5)
    heads, tokens, dim = 3, 40, 32
    q, k, v = (rng.normal(0, 1, (heads, tokens, dim)) for _ in range(3))
    s_q = s_k = s_v = 4 / 127
    s_l, s_o = 8 / 127, 2 / 127
    codes = [np.clip(np.rint(x / s), -128, 127).astype(np.int64) for x, s in ((q, s_q), (k, s_k), (v, s_v))]
    mult, shift = numerics.snap_ratio(s_q * s_k / np.sqrt(dim) / s_l)
    c = numerics.AttentionConstants(int(mult), shift, 8, *numerics.reciprocal_constant(s_v / s_o), 8)
    out, scores = numerics.attention(*codes, numerics.exp_table(s_l), c)
    logits = np.einsum("hid,hjd->hij", q, k) / np.sqrt(dim)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    exact = np.einsum("hij,hjd->hid", p, v)
    assert np.abs(out * s_o - exact).max() < 0.06
    assert np.abs(out * s_o - exact).mean() < 0.01
    mean = p[:, 0].mean(0)
    assert np.abs(scores / (heads * 2**16) - mean).max() < 0.02 * mean.max() + 0.002


def test_scores_of_a_frame_sum_to_at_most_the_heads():
    rng = np.random.default_rng(6)
    q, k, v = (rng.integers(-128, 128, (20, 4, 33, 8)) for _ in range(3))
    _, scores = numerics.attention(q, k, v, numerics.exp_table(0.05), _constants(8, 8, 8))
    assert scores.shape == (20, 33)
    total = scores.sum(-1)
    assert np.all(total <= 4 << 16)
    assert np.all(total > (4 << 16) - 4 * 33), "each floor loses less than one"


def test_a_single_token_gets_its_own_value_and_the_whole_score():
    v = np.array([[[100, -100, 3, -128]]])
    c = numerics.AttentionConstants(65536, 24, 8, *numerics.reciprocal_constant(1.0), 8)
    out, scores = numerics.attention(np.ones((1, 1, 4)), np.ones((1, 1, 4)), v, numerics.exp_table(0.1), c)
    assert out.tolist() == v.tolist()
    assert scores.tolist() == [65536]


def test_equal_logits_average_the_values():
    v = np.arange(-8, 8).reshape(1, 16, 1)
    c = numerics.AttentionConstants(65536, 16, 8, *numerics.reciprocal_constant(16.0), 8)
    zeros = np.zeros((1, 16, 1), np.int64)
    out, scores = numerics.attention(zeros, zeros, v, numerics.exp_table(0.1), c)
    assert out.tolist() == [[[-8]] * 16]  # mean -0.5, 16 codes a unit
    assert scores.tolist() == [4096] * 16


@pytest.mark.parametrize("ratio", [0.013, 0.5, 1.0, 3.7, 90.0])
def test_reciprocal_constant_uses_its_bits_and_is_close(ratio):
    num, shift = numerics.reciprocal_constant(ratio)
    assert num // 255 < 1 << 25
    assert num // 255 >= 1 << 24 or shift == 46
    assert abs(num / 2**shift / ratio - 1) < 2**-24


def test_exp_table_ends():
    table = numerics.exp_table(0.05)
    assert table[0] == 255 and table[-1] == 0
    assert np.all(np.diff(table) <= 0)
    assert table.tolist() == [round(255 * math.exp(-d * 0.05)) for d in range(256)]


# --- the op: head layout of its streams ---


def _op(**attributes):
    outputs = ["o", "s"] if attributes.get("scores") else ["o"]
    node = make_node("PrunedAttention", ["q", "kv", "table"], outputs, name="attention", **attributes)
    return getHWCustomOp(node)


@pytest.mark.parametrize("scores", [0, 1])
def test_op_takes_heads_in_order_and_values_after_all_keys(scores):
    """Channel c = h D' + d in every stream; K channels of all heads come before V channels."""
    rng = np.random.default_rng(9)
    frames, heads, queries, tokens, dim = 2, 3, 4, 5, 2
    c = _constants(8, 8, dim)
    op = _op(
        tokens=tokens, queries=queries, heads=heads, head_dim=dim, scores=scores, logit_mult=c.logit_mult,
        logit_shift=c.logit_shift, recip_num=c.recip_num, recip_shift=c.recip_shift,
    )  # fmt: skip
    q = rng.integers(-128, 128, (frames, queries, heads * dim))
    kv = rng.integers(-128, 128, (frames, tokens, 2 * heads * dim))
    table = numerics.exp_table(0.03)
    got = op.compute(q, kv, table)
    assert len(got) == 1 + scores
    for f in range(frames):
        slices = [[x[f, :, first + h * dim : first + (h + 1) * dim].tolist() for h in range(heads)]
                  for x, first in ((q, 0), (kv, 0), (kv, heads * dim))]  # fmt: skip
        out, expected_scores = attention_by_definition(*slices, table.tolist(), c)
        for h in range(heads):
            assert got[0][f, :, h * dim : (h + 1) * dim].tolist() == out[h]
        if scores:
            assert got[1][f, :, 0].tolist() == expected_scores


def test_op_streams_and_products():
    op = _op(
        tokens=197, queries=1, heads=6, head_dim=64, SIMD=16, PE=4, scores=1, logit_mult=1, logit_shift=0,
        recip_num=1, recip_shift=0,
    )  # fmt: skip
    q, kv = op.in_streams()
    o, s = op.out_streams()
    assert (q.beats, kv.beats, o.beats, s.beats) == (24, 197 * 48, 24, 197)
    assert (q.width, kv.width, o.width, s.width) == (128, 128, 128, 19)
    assert op.macs() == 2 * 6 * 197 * 64
    assert op.get_exp_cycles() == 197 * 48  # the keys and values of one query take longest


@pytest.mark.parametrize("z_bits", [8, 9, 13, 16, 18])
def test_scaled_reciprocal_of_the_scores_is_exact(z_bits):
    """In vp_attention_scores: (E ceil(2^P / Z)) >> (P - 16) = floor(2^16 E / Z), P = 24 + z_bits."""
    rng = np.random.default_rng(z_bits)
    p = 24 + z_bits
    values = range(255, 1 << z_bits) if z_bits <= 9 else rng.integers(255, 1 << z_bits, 400).tolist()
    for z in (*values, (1 << z_bits) - 1):
        recip = -(-(1 << p) // z)
        assert recip < 1 << (p - 7)
        for e in (0, 1, 2, 3, 127, 128, 254, 255, *rng.integers(0, 256, 6).tolist()):
            assert (e * recip) >> (p - 16) == (e << 16) // z
