"""The integer arithmetic against references that share no code with it: fractions, float64, brute force."""

import math
from fractions import Fraction

import numpy as np
import pytest

from finn_vitprune import numerics


def _rint(value: Fraction) -> int:
    """Nearest integer of an exact fraction, ties to even, from the definition."""
    low = math.floor(value)
    gap = value - low
    if gap == Fraction(1, 2):
        return low if low % 2 == 0 else low + 1
    return low + (gap > Fraction(1, 2))


# --- rounding and requantisation ---


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 7, 16, 40])
def test_shift_rounds_half_to_even(shift):
    rng = np.random.default_rng(shift)
    half = (1 << shift) // 2
    around = rng.integers(-40, 40, 80) << shift
    near = [around, around + half, around + half + 1, around - half + 1]
    values = np.concatenate([np.arange(-200, 200), *near])
    expected = [_rint(Fraction(int(v), 1 << shift)) for v in values]
    assert numerics.shift_round_half_even(values, shift).tolist() == expected


def test_shift_takes_one_shift_per_element():
    got = numerics.shift_round_half_even(np.array([5, 6, 7, -5]), np.array([1, 2, 0, 1]))
    assert got.tolist() == [2, 2, 7, -2]


@pytest.mark.parametrize("bits,signed", [(8, True), (4, True), (8, False), (16, True)])
def test_requantise_equals_exact_fractions(bits, signed):
    rng = np.random.default_rng(bits)
    acc = rng.integers(-(1 << 26), 1 << 26, (50, 6))
    mult = rng.integers(1, 1 << 17, 6)
    shift = 36 - bits
    lo, hi = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    got = numerics.requantise(acc, mult, shift, bits, signed)
    exact = [[Fraction(int(a) * int(m), 1 << shift) for a, m in zip(row, mult)] for row in acc]
    expected = [[min(hi, max(lo, _rint(v))) for v in row] for row in exact]
    assert got.tolist() == expected
    assert got.min() == lo and got.max() == hi, "the draw must reach both ends of the range"


def test_requantise_breaks_ties_to_even():
    assert numerics.requantise(np.array([1, 3, 5, -1, -3]), 1, 1, 8).tolist() == [0, 2, 2, 0, -2]


# --- scale ratios ---


def test_snap_ratio_is_the_nearest_multiplier():
    rng = np.random.default_rng(3)
    ratios = 2.0 ** rng.uniform(-3, 0, 200) * 0.013
    mult, shift = numerics.snap_ratio(ratios)
    assert (1 << 16) <= mult.max() < 1 << 17
    for r, m in zip(ratios, mult):
        error = abs(Fraction(float(r)) * (1 << shift) - int(m))
        assert error <= Fraction(1, 2)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0**-20, 1 - 2.0**-30, 131071.4 / 2**17, 1e-6])
def test_snap_ratio_uses_all_bits_at_the_edges(ratio):
    mult, shift = numerics.snap_ratio(ratio)
    assert 1 << 16 <= int(mult) < 1 << 17
    assert abs(Fraction(int(mult), 1 << shift) - Fraction(ratio)) <= Fraction(ratio) / (1 << 16)


@pytest.mark.parametrize("ratio", [0.0, -1.0, np.inf, np.nan, 1e9, [1.0, 1e-9]])
def test_snap_ratio_refuses_what_does_not_fit(ratio):
    with pytest.raises(ValueError):
        numerics.snap_ratio(ratio)


# --- reciprocal square root and LayerNorm ---


def _rsqrt_step_by_step(v: int) -> tuple[int, int]:
    """The docstring's algorithm with Python integers and floor divisions."""
    e = 0
    while 4 ** (e + 1) <= v:
        e += 1
    m = v * 2**22 // 4**e
    seed = round(4096 / math.sqrt((m // 2**16 + 0.5) / 64))
    p1 = m * seed * seed // 2**24
    r1 = seed * (3 * 2**22 - p1) // 2**17
    p2 = m * (r1 * r1 // 2**12) // 2**22
    return r1 * (3 * 2**24 - p2) // 2**19, e


def _rsqrt_inputs() -> np.ndarray:
    rng = np.random.default_rng(5)
    powers = np.array([4**i for i in range(26)] + [2 * 4**i for i in range(26)])
    wide = np.exp2(rng.uniform(0, 52, 3000)).astype(np.int64)
    edges = np.concatenate([powers, powers - 1, powers + 1, [(1 << 52) - 1]])
    return np.unique(np.clip(np.concatenate([edges, wide, np.arange(1, 300)]), 1, (1 << 52) - 1))


def test_reciprocal_sqrt_is_the_documented_algorithm():
    v = _rsqrt_inputs()
    r, e = numerics.reciprocal_sqrt(v)
    assert [(int(a), int(b)) for a, b in zip(r, e)] == [_rsqrt_step_by_step(int(x)) for x in v]


def test_reciprocal_sqrt_is_accurate_and_fits_its_widths():
    v = _rsqrt_inputs()
    r, e = numerics.reciprocal_sqrt(v)
    assert r.max() < 1 << 25 and e.min() == 0 and e.max() == 25
    exact = 1 / np.sqrt(v.astype(np.float64))
    relative = np.abs(np.ldexp(r.astype(np.float64), -(24 + e)) / exact - 1)
    assert relative.max() < 2.0**-20, relative.max()


@pytest.mark.parametrize("centred", [True, False], ids=["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("d,bits,inverse", [(48, 8, 24.0), (384, 8, 30.0), (192, 4, 2.5), (1024, 8, 40.0), (1664, 8, 40.0)])
def test_layernorm_follows_float64_within_rounding(d, bits, inverse, centred):
    rng = np.random.default_rng(d)
    spread = 10 ** rng.uniform(0.5, 4.2, (200, 1))
    x = np.clip(np.rint(rng.normal(0, 1, (200, d)) * spread + rng.normal(0, 3000, (200, 1))), -32768, 32767)
    s_in = 2.0**-10
    eps, mult, shift = numerics.layernorm_constants(d, 1e-6, s_in, 1 / inverse)
    got = numerics.layernorm(x.astype(np.int64), eps, mult, shift, bits, centred)
    n = (x - centred * x.mean(-1, keepdims=True)) * s_in
    real = n / np.sqrt((n**2).mean(-1, keepdims=True) + 1e-6) * (mult * 2.0**-shift)
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    ideal = np.clip(np.rint(real), lo, hi)
    differ = got != ideal
    assert np.abs(got - ideal).max() <= 1
    near_tie = np.abs(np.abs(real - np.floor(real)) - 0.5) < 1e-3
    assert not np.any(differ & ~near_tie), "codes differ where the real value is not near a tie"


def test_layernorm_equals_exact_integers():
    rng = np.random.default_rng(9)
    x = rng.integers(-32768, 32768, (20, 48))
    x[0], x[1, 0] = 77, -32768
    eps, mult, shift = 12345, 90001, 12
    got = numerics.layernorm(x, eps, mult, shift, 8)
    for row, codes in zip(x.tolist(), got.tolist()):
        s1, s2 = sum(row), sum(v * v for v in row)
        r, e = _rsqrt_step_by_step(48 * s2 - s1 * s1 + eps)
        rc = r * mult // 2**16
        want = [max(-128, min(127, _rint(Fraction((48 * v - s1) * rc, 2 ** (8 + e + shift))))) for v in row]
        assert codes == want


def test_rmsnorm_equals_exact_integers():
    rng = np.random.default_rng(9)
    x = rng.integers(-32768, 32768, (20, 48))
    x[0], x[1] = 77, 0
    eps, mult, shift = 12345, 90001, 12
    got = numerics.layernorm(x, eps, mult, shift, 8, centred=False)
    for row, codes in zip(x.tolist(), got.tolist()):
        r, e = _rsqrt_step_by_step(48 * sum(v * v for v in row) + eps)
        assert codes == [max(-128, min(127, _rint(Fraction(48 * v * (r * mult // 2**16), 2 ** (8 + e + shift))))) for v in row]
    assert not got[1].any()


@pytest.mark.parametrize("d", [2, 1024, 1663, 1664])
def test_rmsnorm_of_a_token_at_the_lower_end_has_the_largest_v(d):
    """Python's integers: v below 2^52 at the largest eps, one more would be too many where the widths decide."""
    most, eps = d * d * 2**30, numerics.layernorm_largest_eps(d, centred=False)
    assert most + eps < 1 << 52 and eps in ((1 << 51) - 1, (1 << 52) - 1 - most)
    low = np.full(d, -32768, np.int64)
    r, e = _rsqrt_step_by_step(most + eps)
    rc = r * 65536 >> 16
    assert d * 2**15 * rc < 1 << 52
    assert numerics.layernorm(low, eps, 65536, 12, 8, centred=False)[0] == max(-128, _rint(Fraction(-d * 32768 * rc, 2 ** (20 + e))))


def test_layernorm_of_a_constant_token_is_zero():
    assert not numerics.layernorm(np.full((3, 16), -32768), 1, 1 << 16, 12, 8).any()


@pytest.mark.parametrize("d", [2, 48, 1024, 1663, 1664])
def test_layernorm_extremes_stay_inside_the_widths_of_the_documentation(d):
    """Python's integers have no width. No element is wider than at the extremes, since each value is linear or convex in the codes."""
    low, high = -32768, 32767
    mult, most_r = (1 << 17) - 1, int(numerics.reciprocal_sqrt(_rsqrt_inputs())[0].max())
    rc = most_r * mult >> 16
    assert rc < 1 << 25 and d * rc < 1 << 36
    for ones in {0, 1, d // 2, d // 2 + 1, d - 1, d}:
        x = [low] * ones + [high] * (d - ones)
        s1, s2 = sum(x), sum(v * v for v in x)
        assert -(1 << 26) <= s1 < 1 << 26 and s2 < 1 << 41
        assert -(1 << 51) <= s1 * rc < 1 << 51
        assert all(-(1 << 27) <= d * v - s1 < 1 << 27 and abs((d * v - s1) * rc) < 1 << 52 for v in (low, high))
        assert d * s2 - s1 * s1 + numerics.layernorm_largest_eps(d) < 1 << 52
    x = [low] * (d // 2) + [high] * (d - d // 2)
    fullest = d * sum(v * v for v in x) - sum(x) ** 2
    assert numerics.layernorm_largest_eps(d) in ((1 << 51) - 1, (1 << 52) - 1 - fullest)


def test_layernorm_of_extremes_is_that_of_exact_integers():
    for d in (2, 48, 1024, 1664):
        x = np.full(d, -32768, dtype=np.int64)
        x[: d // 2] = 32767
        v = d * int((x * x).sum()) - int(x.sum()) ** 2
        assert v < 1 << 52
        one_hot = np.full(d, 32767, dtype=np.int64)
        one_hot[0] = -32768
        half = numerics.layernorm(x, numerics.layernorm_largest_eps(d), 131071, 10, 8)
        r, e = _rsqrt_step_by_step(v + numerics.layernorm_largest_eps(d))
        cut = Fraction((d * 32767 - int(x.sum())) * (r * 131071 >> 16), 2 ** (18 + e))
        assert half[0] == min(127, _rint(cut)) and half[0] >= -half[-1] - 1
        assert numerics.layernorm(one_hot, 1, 65536, 12, 8)[0] == max(-128, round(-16 * math.sqrt(d - 1)))


def test_layernorm_constants():
    eps, mult, shift = numerics.layernorm_constants(384, 1e-6, 2.0**-12, 1 / 32)
    assert eps == round(384**2 * 1e-6 * 2**24) and mult / 2**shift == 32.0
    assert numerics.layernorm_constants(16, 1e-12, 1.0, 0.1)[0] == 1


# --- token drop ---


@pytest.mark.parametrize("n", [2, 3, 17, 21, 101, 198, 1001])
@pytest.mark.parametrize("rate", ["0.55", "0.7", ".9", "0.1", "0.3333", "1", "0.05", "1.0", "0.285"])
def test_kept_tokens_is_the_exact_ceiling(n, rate):
    digits = rate.split(".")[1] if "." in rate else ""
    scale = 10 ** len(digits)
    numerator = int(float(rate) * scale + 0.5) * (n - 1)
    by_hand = numerator // scale + (numerator % scale != 0)
    assert numerics.kept_tokens(rate, n) == by_hand
    assert numerics.kept_tokens(float(rate), n) == by_hand


def test_kept_tokens_where_float_goes_wrong():
    assert math.ceil(0.55 * 100) == 56, "the float formula is off here, otherwise this test shows nothing"
    assert numerics.kept_tokens(0.55, 101) == 55


@pytest.mark.parametrize("rate,counts", [(0.5, (101, 52, 28)), (0.7, (140, 100, 72)), (0.9, (180, 164, 149))])
def test_published_token_counts(rate, counts):
    """FCCM 2024 artifact: tokens after each of three drops, from 198."""
    n = 198
    for expected in counts:
        n = numerics.tokens_after_drop(n, numerics.kept_tokens(rate, n))
        assert n == expected


def test_a_prefix_is_kept_and_not_counted():
    """Five prefix tokens of 21, half of the 16 patches: the patches 0, 2, 3, 5, ... by hand, and what they leave."""
    assert numerics.kept_tokens("0.5", 21, 5) == 8 and numerics.tokens_after_drop(21, 8, 5) == 14
    assert numerics.tokens_after_drop(21, 16, 5) == 21 and numerics.tokens_after_drop(21, 15, 5) == 21
    scores = np.array([[0, 9, 0, 9, 0, 0, 5, 9, 5, 5]])
    keep = numerics.rank_tokens(scores, 3, 3)
    assert keep.tolist() == [[True, True, True, True, False, False, True, True, False, False]]
    x = np.arange(20).reshape(1, 10, 2) * 8
    out = numerics.token_drop(x, scores << 13, 3, 1 << 16, 16, prefix=3)
    fused = ((5 * x[0, 8] + 5 * x[0, 9]) / 8).tolist()
    assert out[0].tolist() == [*x[0, [0, 1, 2, 3, 6, 7]].tolist(), fused]


def test_tokens_after_drop_at_the_edges():
    assert [numerics.tokens_after_drop(10, k) for k in (1, 7, 8, 9)] == [3, 9, 10, 10]


def _keep_by_brute_force(scores: list[int], k: int) -> list[bool]:
    """A token stays if fewer than k others beat it; equal scores: the lower index beats."""
    n = len(scores)
    keep = [True]
    for i in range(1, n):
        others = [j for j in range(1, n) if j != i]
        beaten_by = sum(scores[j] > scores[i] or (scores[j] == scores[i] and j < i) for j in others)
        keep.append(beaten_by < k)
    return keep


@pytest.mark.parametrize("levels", [1, 2, 5, 1 << 18])
@pytest.mark.parametrize("n", [2, 3, 9, 40])
def test_ranking_with_ties_equals_brute_force(n, levels):
    rng = np.random.default_rng(n * levels)
    scores = rng.integers(0, levels, (12, n))
    scores[0] = levels - 1
    for k in {1, n // 2, n - 2, n - 1} - {0}:
        keep = numerics.rank_tokens(scores, k)
        assert keep.tolist() == [_keep_by_brute_force(row, k) for row in scores.tolist()]
        assert (keep.sum(-1) == k + 1).all()


def test_all_equal_scores_keep_the_first_tokens():
    assert numerics.rank_tokens(np.zeros(7, int), 3).tolist() == [True] * 4 + [False] * 3


def test_the_class_tokens_own_score_is_ignored():
    scores = np.array([[0, 5, 1, 3], [1 << 17, 5, 1, 3]])
    x = np.random.default_rng(1).integers(-99, 99, (2, 4, 3))
    x[1] = x[0]
    out = numerics.token_drop(x, scores, 1, 1 << 16, 16)
    assert np.array_equal(out[0], out[1])


@pytest.mark.parametrize("heads", [1, 3, 4, 6])
def test_token_drop_equals_exact_fractions(heads):
    rng = np.random.default_rng(heads)
    n, d, k = 11, 5, 4
    mult, shift = numerics.head_mean_constant(heads)
    share = rng.dirichlet(np.ones(n), 6)
    scores = np.floor(share * heads * 65536).astype(np.int64)
    x = rng.integers(-32768, 32768, (6, n, d))
    out = numerics.token_drop(x, scores, k, mult, shift)
    assert out.shape == (6, k + 2, d)
    for frame, s, got in zip(x.tolist(), scores.tolist(), out.tolist()):
        keep = _keep_by_brute_force(s, k)
        rows = [row for row, stays in zip(frame, keep) if stays]
        dropped = [i for i in range(n) if not keep[i]]
        factor = Fraction(mult, 1 << (16 + shift))
        fused = [_rint(sum(s[i] * frame[i][c] for i in dropped) * factor) for c in range(d)]
        assert got == [*rows, [max(-32768, min(32767, v)) for v in fused]]


def test_fused_token_is_the_attention_weighted_sum():
    """Against the reference's real formula: mean over heads of the class token's attention, times x."""
    rng = np.random.default_rng(4)
    n, d, k, heads = 30, 16, 12, 6
    attention = rng.dirichlet(np.ones(n) * 0.5, heads)
    scores = np.floor(attention * 65536).astype(np.int64).sum(0)
    x = rng.integers(-20000, 20000, (n, d))
    out = numerics.token_drop(x, scores, k, *numerics.head_mean_constant(heads))
    mean = attention.mean(0)
    dropped = sorted(range(1, n), key=lambda i: (-scores[i], i))[k:]
    real = sum(mean[i] * x[i] for i in dropped)
    assert np.abs(out[-1] - real).max() < 1.5 + n * 20000 * 2.0**-16


def test_token_drop_edges():
    rng = np.random.default_rng(8)
    x = rng.integers(-32768, 32768, (2, 5, 3))
    scores = np.array([[9, 4, 4, 4, 4], [0, 0, 7, 0, 0]])
    assert np.array_equal(numerics.token_drop(x, scores, 4, 1 << 16, 16), x)
    one_fused = numerics.token_drop(x, scores, 3, 1 << 16, 16)
    assert one_fused.shape == x.shape and np.array_equal(one_fused[:, :4], x[:, :4])
    zero = numerics.token_drop(x, np.zeros((2, 5), int), 1, 1 << 16, 16)
    assert np.array_equal(zero[:, 1], x[:, 1]) and not zero[:, 2].any()


def test_fused_token_saturates_both_ways():
    x = np.array([[[0, 0], [1, 1], [32767, -32768], [32767, -32768]]])
    out = numerics.token_drop(x, np.array([[0, 65536, 65535, 65535]]), 1, 1 << 16, 16)
    assert out[0, -1].tolist() == [32767, -32768]


@pytest.mark.parametrize("heads", range(1, 17))
def test_head_mean_constant(heads):
    mult, shift = numerics.head_mean_constant(heads)
    assert abs(Fraction(mult, 1 << shift) * heads - 1) < Fraction(1, 1 << 16)
    assert round(2**shift / mult) == heads
