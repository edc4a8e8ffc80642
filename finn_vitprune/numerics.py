"""Integer arithmetic that the golden models, training and lowering share (see docs/numerics.md).

Every function works on int64 NumPy arrays with any leading batch axes and is exact: what it returns
is what the RTL computes, bit for bit. Widths are stated where they bound an intermediate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

MULT_BITS = 17
"""Requantisation multipliers are below 2**17, so that one DSP48E2 (27x18 signed) holds the product."""

EXP_MAX = 255
"""E at the row maximum: deferred softmax numerators are UINT8."""

RECIP_BITS = 25
"""Bits of the reciprocal of a softmax row sum: floor(NUM / Z) < 2**25 for every Z >= 255."""

SCORE_BITS = 16
"""Fraction bits of a token score: one head contributes floor(2**16 E / Z)."""

TIE_TOLERANCE = 1e-3
"""Codes: a value before rounding that lies this near to a tie may be rounded to either side."""

SCALES_ERROR = 3 * 2.0**-24
"""Share of a value before rounding by which two forms of it may differ: the product of the three scales of a layer, each of them float32."""


def beside_tie(before: np.ndarray, code: np.ndarray, other: np.ndarray, error: np.ndarray | float = 0.0) -> np.ndarray:
    """Where two codes are neighbours and ``before``, the value before rounding, lies beside the tie between them.

    ``error``: by how much of a code one of them may differ before rounding, where its arithmetic says so.
    """
    return (np.abs(code - other) == 1) & (np.abs(before - (code + other) / 2) <= np.maximum(TIE_TOLERANCE, error))


def shift_round_half_even(value: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    """``value * 2**-shift`` rounded to the nearest integer, ties to even. ``shift`` >= 0, may broadcast."""
    value, shift = np.asarray(value, np.int64), np.asarray(shift, np.int64)
    rounded = value >> shift
    rounded &= 1
    rounded += value  # an even floor is the result of a tie, an odd one needs the half as a whole
    rounded += (np.left_shift(np.int64(1), shift) >> 1) - 1
    rounded >>= shift
    return rounded if np.all(shift > 0) else np.where(shift > 0, rounded, value)


def clog2(count: int) -> int:
    """Bits that number ``count`` things: ceil(log2(count)), 0 for one."""
    return max(0, int(count) - 1).bit_length()


def int_range(bits: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest code of a ``bits`` wide integer."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def zero_point(lowest: float, scale: float, bits: int) -> int:
    """The signed code of 0 with which the lowest code stands for about ``lowest`` (0 or less): the nearest even one.

    An even zero point leaves ties as they are: round(x / s + z) = round(x / s) + z.
    """
    lo, hi = int_range(bits, signed=True)
    return min(lo + 2 * round(-lowest / (2 * scale)), hi - 1)


def requantise(acc: np.ndarray, mult: np.ndarray | int, shift: np.ndarray | int, bits: int, signed: bool = True) -> np.ndarray:
    """``clip(round_half_even(acc * mult * 2**-shift))`` to ``bits`` wide codes.

    int64 must hold ``acc * mult`` (a requantiser: 44 bits, and ``mult`` < 2**17). ``mult`` and ``shift`` broadcast.
    """
    lo, hi = int_range(bits, signed)
    return np.clip(shift_round_half_even(np.asarray(acc, np.int64) * mult, shift), lo, hi)


def snap_ratio(ratio: np.ndarray | float, bits: int = MULT_BITS) -> tuple[np.ndarray, int]:
    """Nearest ``mult * 2**-shift`` to each positive ratio, one shift for all, ``mult`` < 2**bits.

    Returns:
        ``mult`` (int64, shape of ``ratio``) and ``shift`` >= 0; the largest mult uses all bits.
    Raises:
        ValueError: a ratio is not positive and finite, or too large or small for the format.
    """
    ratio = np.asarray(ratio, dtype=np.float64)
    if not np.all(np.isfinite(ratio)) or np.any(ratio <= 0):
        raise ValueError(f"scale ratio must be positive and finite, got {ratio.min()} to {ratio.max()}")
    shift = bits - int(np.frexp(ratio.max())[1])
    if np.rint(np.ldexp(ratio.max(), shift)) >= 1 << bits:
        shift -= 1
    if not 0 <= shift <= 46:
        raise ValueError(f"scale ratio {ratio.max()} does not fit mult * 2**-shift with shift in 0..46")
    mult = np.rint(np.ldexp(ratio, shift)).astype(np.int64)
    if np.any(mult == 0):
        raise ValueError(f"scale ratios span too wide a range: {ratio.min()} to {ratio.max()}")
    return mult, shift


def without_shared_twos(mult: int, shift: int) -> tuple[int, int]:
    """``mult * 2**-shift`` with the factors of two that ``mult`` and ``2**shift`` share taken out of both."""
    twos = min(shift, (mult & -mult).bit_length() - 1)
    return mult >> twos, shift - twos


# --- LayerNorm ---------------------------------------------------------------------------------

LN_MANTISSA_BITS = 22


def layernorm_seed_table() -> np.ndarray:
    """Seeds of the reciprocal square root: 256 entries of 13 bits (12 fraction bits), index = m >> 16.

    ``m`` has 22 fraction bits and lies in [1, 4), so entries 64 to 255 are used; the others are 0.
    """
    index = np.arange(256)
    midpoint = (index + 0.5) / 64.0
    return np.where(index >= 64, np.rint(4096 / np.sqrt(midpoint)), 0).astype(np.int64)


def reciprocal_sqrt(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``1 / sqrt(v)`` as ``r * 2**-(24 + e)`` for integers 1 <= v < 2**52: table seed, two Newton steps.

    Normalise v = m 4**e with m in [1, 4) at 22 fraction bits (truncated), r0 = seed (12 fraction bits):

        p1 = (m * r0**2) >> 24              22 fraction bits
        r1 = (r0 * (3 * 2**22 - p1)) >> 17  18 fraction bits
        p2 = (m * ((r1**2) >> 12)) >> 22    24 fraction bits
        r2 = (r1 * (3 * 2**24 - p2)) >> 19  24 fraction bits, 24 bits wide

    Returns:
        r (24 bits) and e (0 to 25), both int64 of v's shape.
    """
    v = np.asarray(v, dtype=np.int64)
    exponent = np.frexp(v.astype(np.float64))[1].astype(np.int64) - 1
    e = exponent >> 1
    up = np.maximum(LN_MANTISSA_BITS - 2 * e, 0)
    down = np.maximum(2 * e - LN_MANTISSA_BITS, 0)
    m = (v << up) >> down
    r0 = layernorm_seed_table()[m >> 16]
    p1 = (m * r0 * r0) >> 24
    r1 = (r0 * ((3 << 22) - p1)) >> 17
    p2 = (m * ((r1 * r1) >> 12)) >> 22
    r2 = (r1 * ((3 << 24) - p2)) >> 19
    return r2, e


def layernorm(x: np.ndarray, eps: int, mult: int, shift: int, bits: int, centred: bool = True) -> np.ndarray:
    """Integer LayerNorm over the last axis (D codes), without gamma and beta.

    y_i = clip(round_half_even(n_i rc 2**-(8 + e + shift))) with n_i = D X_i - S1,
    v = D S2 - S1**2 + eps, (r, e) = reciprocal_sqrt(v), rc = (r mult) >> 16, where
    1 / s_out = mult 2**-shift. For INT16 codes and D <= 1664: n 28 bits, v 52 bits, rc 25 bits, their product 53 bits.
    RMSNorm is the same with 0 in place of S1.

    Args:
        x: codes ``[..., D]`` of the residual stream.
        eps: max(1, round(D**2 eps_float / s_in**2)), at most :func:`layernorm_largest_eps`.
        mult: 17-bit multiplier of 1 / s_out.
        shift: shift of 1 / s_out, >= 0.
        bits: width of the signed output codes.
        centred: False for RMSNorm, which takes no mean from its input.
    """
    x = np.asarray(x, dtype=np.int64)
    d = x.shape[-1]
    s1 = x.sum(-1, keepdims=True) if centred else np.zeros((), np.int64)
    s2 = (x * x).sum(-1, keepdims=True)
    n = d * x - s1
    r, e = reciprocal_sqrt(d * s2 - s1 * s1 + eps)
    return requantise(n, (r * mult) >> 16, 8 + e + shift, bits)


def layernorm_largest_eps(d: int, centred: bool = True) -> int:
    """The largest eps of :func:`layernorm` over ``d`` INT16 codes: it has 51 bits, and v stays below 2**52.

    D S2 - S1**2 is the sum of the squared differences of all pairs of codes, and largest where half of them are at each end. D S2
    alone is largest where all are at the lower end.
    """
    most = d // 2 * (d - d // 2) * ((1 << 16) - 1) ** 2 if centred else d * d << 30
    return min((1 << 51) - 1, (1 << 52) - 1 - most)


def layernorm_constants(d: int, eps: float, s_in: float, s_out: float) -> tuple[int, int, int]:
    """``(eps_int, mult, shift)`` of :func:`layernorm` from real scales."""
    eps_int = max(1, round(d * d * eps / (s_in * s_in)))
    mult, shift = snap_ratio(1.0 / s_out)
    return eps_int, int(mult), shift


# --- rotary position embedding ---------------------------------------------------------------------

ROTARY_SHIFT = 8
ROTARY_ONE = 1 << ROTARY_SHIFT
"""The code of 1 among those of sines and cosines, which are -256 to 256."""
ROTARY_BITS = ROTARY_SHIFT + 2


def rotary_codes(values: np.ndarray) -> np.ndarray:
    """Sines or cosines as codes: the nearest to 256 times the value, ties to even, -256 to 256."""
    return np.clip(np.rint(np.asarray(values, np.float64) * ROTARY_ONE), -ROTARY_ONE, ROTARY_ONE).astype(np.int64)


def rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, bits: int) -> np.ndarray:
    """Neighbouring channels 2i, 2i + 1 of a token turned by its angle i.

    y_2i = clip(rhe((x_2i c_i - x_2i+1 s_i) 2**-8)), y_2i+1 = clip(rhe((x_2i+1 c_i + x_2i s_i) 2**-8)).

    Args:
        x: signed codes ``[..., N, D]`` of ``bits`` bits; cos, sin: :func:`rotary_codes` ``[..., N, D / 2]``, broadcast.
    Returns:
        Codes ``[..., N, D]`` of ``bits`` bits at the scale of ``x``.
    """
    x = np.asarray(x, np.int64)
    a, b = x[..., ::2], x[..., 1::2]
    turned = np.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)
    return requantise(turned, 1, ROTARY_SHIFT, bits)


# --- gated MLPs -------------------------------------------------------------------------------------

GATE_BITS = 12
"""Of a factor, the activation of a gate as a code: so few that float32 knows it to a tie."""
GATE_LEAST_SHIFT, GATE_SHIFT = 6, 12
"""Least and largest number of bits after the point of a factor; tables of the hardware have the largest."""
GATE_ENTRY_BITS = GATE_BITS + GATE_SHIFT - GATE_LEAST_SHIFT
"""Of an entry of such a table, signed."""
GATE_EXACT = 1e-5
"""Largest relative distance of a ratio of scales from a power of two that it is taken for: scales are float32."""


def gate_shift(largest: float, s_value: float, s_out: float) -> int:
    """Bits after the point of factors: so many that the largest activation still fits GATE_BITS, 6 to 12.

    Args:
        largest: magnitude of an activation that can be; s_value, s_out: scales of values and of results.
    """
    most = (1 << (GATE_BITS - 1)) - 1
    return min(max(math.floor(math.log2(most * s_out / (s_value * largest))), GATE_LEAST_SHIFT), GATE_SHIFT)


def shift_of_scales(s_factor: float, s_value: float, s_out: float) -> int | None:
    """S where s_factor s_value / s_out is 2**-S with S of 6 to 12, else None."""
    exponent = -math.log2(s_factor * s_value / s_out)
    shift = round(exponent)
    exact = abs(exponent - shift) * math.log(2) <= GATE_EXACT
    return shift if exact and GATE_LEAST_SHIFT <= shift <= GATE_SHIFT else None


def gate_table(factors: np.ndarray, shift: int) -> np.ndarray:
    """Entries of GATE_ENTRY_BITS: factors of GATE_BITS with ``shift`` bits after the point, then with GATE_SHIFT."""
    return np.asarray(factors, np.int64) << (GATE_SHIFT - shift)


def gated(entries: np.ndarray, values: np.ndarray, bits: int) -> np.ndarray:
    """y = clip(rhe(entries values 2**-12)), signed codes of ``bits`` bits.

    Args:
        entries: of :func:`gate_table`; values: signed codes of at most 8 bits, of the same shape.
    """
    return requantise(np.asarray(entries, np.int64) * np.asarray(values, np.int64), 1, GATE_SHIFT, bits)


# --- attention with deferred softmax --------------------------------------------------------------

BIAS_BITS = 8
"""Of a code of a relative position bias (signed)."""


def exp_table(scale: float) -> np.ndarray:
    """E = round_half_even(255 exp(-diff scale)) for diff = max - q in 0..255 (UINT8, entry 0 is 255)."""
    return np.rint(EXP_MAX * np.exp(-np.arange(256) * float(scale))).astype(np.int64)


def reciprocal_constant(ratio: float) -> tuple[int, int]:
    """``(NUM, T)`` so that O = acc floor(NUM / Z) 2**-T approximates acc ratio / Z.

    T is the largest with NUM // 255 < 2**25. ``ratio`` = s_v / s_o.
    """
    shift = 0
    limit = EXP_MAX << RECIP_BITS
    while round(ratio * (1 << (shift + 1))) < limit and shift < 46:
        shift += 1
    return round(ratio * (1 << shift)), shift


@dataclass(frozen=True)
class AttentionConstants:
    """What the attention of one encoder computes with.

    logit_mult, logit_shift: QK^T accumulator to logit codes. logit_bits: width of these (signed).
    recip_num, recip_shift: NUM and T of :func:`reciprocal_constant`. out_bits: width of O (signed). bias_shift: a code of a relative
    position bias is so many bits above one of QK^T.
    """

    logit_mult: int
    logit_shift: int
    logit_bits: int
    recip_num: int
    recip_shift: int
    out_bits: int
    bias_shift: int = 0


def bias_shift(largest: float, product: float) -> int:
    """The smallest t with which a relative position bias up to ``largest`` fits codes of BIAS_BITS at ``product`` 2**t, s_q s_k 2**t."""
    return max(0, math.ceil(math.log2(max(largest, product) / (((1 << (BIAS_BITS - 1)) - 1) * product))))


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, table: np.ndarray, c: AttentionConstants, bias: np.ndarray | int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Multi-head attention with deferred softmax on integer codes.

    L = requant(q k^T + bias 2**t), E = table[max_j L - L], Z = sum_j E, O = clip(rhe((E v) floor(NUM / Z) 2**-T)),
    S_j = sum_h floor(2**16 E_h0j / Z_h0) from query row 0.

    Args:
        q: ``[..., H, NQ, D']``; k, v: ``[..., H, N, D']``; table: 256 UINT8 entries; bias: codes of a relative position bias
            ``[H, NQ, N]``, 0 for none, t = ``c.bias_shift``.
    Returns:
        O ``[..., H, NQ, D']`` and the token scores S ``[..., N]``.
    """
    return attended(numerators(attention_logits(q, k, c, bias), table), v, c)


def attention_logits(q: np.ndarray, k: np.ndarray, c: AttentionConstants, bias: np.ndarray | int = 0) -> np.ndarray:
    """L ``[..., H, NQ, N]`` of :func:`attention`."""
    sums = matmul(q, np.swapaxes(k, -1, -2)) + (np.asarray(bias, np.int64) << c.bias_shift)
    return requantise(sums, c.logit_mult, c.logit_shift, c.logit_bits)


def numerators(logits: np.ndarray, table: np.ndarray) -> np.ndarray:
    """E of :func:`attention` from its L."""
    return np.asarray(table, np.int64)[logits.max(-1, keepdims=True) - logits]


def attended(e: np.ndarray, v: np.ndarray, c: AttentionConstants) -> tuple[np.ndarray, np.ndarray]:
    """O and S of :func:`attention` from its E."""
    z = e.sum(-1, keepdims=True)
    out = requantise(matmul(e, v), c.recip_num // z, c.recip_shift, c.out_bits)
    scores = ((e[..., 0, :] << SCORE_BITS) // z[..., 0, :]).sum(-2)
    return out, scores


def attended_error(e: np.ndarray, c: AttentionConstants) -> np.ndarray:
    """Bound of what floor(NUM / Z) loses of a code of O of size 1, ``[..., queries, 1]``: Z / NUM."""
    return e.sum(-1, keepdims=True) / c.recip_num


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Exact integer matrix product through float64 BLAS; every partial sum must stay below 2**53 in magnitude."""
    return np.rint(np.asarray(a, np.float64) @ np.asarray(b, np.float64)).astype(np.int64)


# --- token drop ---------------------------------------------------------------------------------


def kept_tokens(rate: float | str, tokens: int, prefix: int = 1) -> int:
    """k = ceil(r_t (N - P)) of the tokens behind P prefix tokens, with the rate taken as the exact decimal that was written."""
    return math.ceil(Fraction(str(rate)) * (tokens - prefix))


def tokens_after_drop(tokens: int, k: int, prefix: int = 1) -> int:
    """N_out = P + k + 1 (prefix tokens, k kept, fused token); N when nothing is dropped."""
    return tokens if k == tokens - prefix else prefix + k + 1


def rank_tokens(scores: np.ndarray, k: int, prefix: int = 1) -> np.ndarray:
    """Boolean ``[..., N]``: True for the P prefix tokens and the k others of highest score, lower index wins ties."""
    scores = np.asarray(scores, dtype=np.int64)
    order = np.argsort(-scores[..., prefix:], axis=-1, kind="stable")[..., :k] + prefix
    keep = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(keep, order, True, axis=-1)
    keep[..., :prefix] = True
    return keep


def token_drop(x: np.ndarray, scores: np.ndarray, k: int, mult: int, shift: int, bits: int = 16, prefix: int = 1) -> np.ndarray:
    """Keep the prefix tokens and the k best of the others in order; append the fused token of the dropped ones.

    fused = clip(rhe(sum_dropped S_i X_i mult 2**-(16 + shift))), mult 2**-shift close to 1 / H_live.

    Args:
        x: residual codes ``[..., N, D]``; scores: ``[..., N]``, of which those of the first ``prefix`` tokens are ignored.
    Returns:
        ``[..., N_out, D]``.
    """
    x = np.asarray(x, dtype=np.int64)
    n, d = x.shape[-2:]
    if k == n - prefix:
        return x.copy()
    keep = rank_tokens(scores, k, prefix)
    kept = x[keep].reshape(*x.shape[:-2], prefix + k, d)
    weight = np.where(keep, 0, np.asarray(scores, dtype=np.int64))
    fused = requantise((weight[..., None] * x).sum(-2), mult, SCORE_BITS + shift, bits)
    return np.concatenate([kept, fused[..., None, :]], axis=-2)


def head_mean_constant(heads: int) -> tuple[int, int]:
    """``(mult, shift)`` of 1 / H_live for :func:`token_drop`."""
    mult, shift = snap_ratio(1.0 / heads)
    return int(mult), shift


def token_mean(x: np.ndarray, first: int, mult: int, shift: int, bits: int) -> np.ndarray:
    """Mean over the tokens from ``first`` on: clip(rhe(sum_i X_i mult 2**-shift)).

    Args:
        x: codes ``[..., N, D]``; mult 2**-shift: s_x / ((N - first) s_y), mult < 2**17.
    Returns:
        Signed codes ``[..., 1, D]`` of ``bits`` bits at scale s_y.
    """
    return requantise(np.asarray(x, np.int64)[..., first:, :].sum(-2, keepdims=True), mult, shift, bits)
