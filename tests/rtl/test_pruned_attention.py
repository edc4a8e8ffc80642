"""PrunedAttention: the RTL equals numerics.attention in every bit, keeps its interval, never blocks."""

import os

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.numerics import EXP_MAX, bias_shift, exp_table, reciprocal_constant, requantise, snap_ratio
from finn_vitprune.sim import Stimulus
from tests.rtl.benches.helper import PATTERNS, assert_ok, build_node, build_op, check_op, random_stream
from tests.rtl.benches.precision import assert_last_bits_count, deciding
from tests.rtl.benches.shared_helper import Use, check_shared
from tests.rtl.test_attention_scores import tight_pairs
from tests.sampling import sampled, spread

SEED = int(os.environ.get("VITPRUNE_FOLD_SEED", "1"))
"""Draws the shapes of :func:`test_drawn_folds`."""


def attributes(tokens, queries, heads, head_dim, simd, pe, scores=1, bits=8, out_bits=None, logit_bits=8, **more):
    """Attributes with scales that use the ranges: logits of random codes fill theirs, some O saturate."""
    spread = np.sqrt(head_dim) * (2**bits / np.sqrt(12)) ** 2
    mult, shift = snap_ratio(2 ** (logit_bits - 1) / (2.5 * spread))
    out_bits = out_bits or bits
    num, recip_shift = reciprocal_constant(3.0 * 2 ** (out_bits - bits))
    return {
        "tokens": tokens, "queries": queries, "heads": heads, "head_dim": head_dim, "SIMD": simd, "PE": pe,
        "scores": scores, "logit_mult": int(mult), "logit_shift": shift, "logit_bits": logit_bits,
        "recip_num": num, "recip_shift": recip_shift, "inputDataType": f"INT{bits}",
        "outputDataType": f"INT{out_bits}",
    } | more  # fmt: skip


def table_of(logit_bits):
    return exp_table(8 / 2**logit_bits)


def build(attrs):
    """The built unit with its usual table."""
    return build_op("PrunedAttention", attrs, [table_of(attrs["logit_bits"])])


def random_feed(attrs, frames=3, seed=1):
    return feed_of(build_node("PrunedAttention", attrs)[0], frames, seed)


def feed_of(op, frames, seed=1):
    """Random streams of an op."""
    return [random_stream(s, frames, seed + i) for i, s in enumerate(op.in_streams())]


BIASED = {"bias_bits": 8, "bias_shift": 5}
SHAPES = {
    "one_head": attributes(17, 17, 1, 16, 4, 1),
    "three_heads": attributes(17, 17, 3, 8, 4, 4),
    "no_scores": attributes(17, 17, 3, 8, 4, 2, scores=0),
    "class_token_only": attributes(17, 1, 3, 8, 4, 4),
    "class_token_only_no_scores": attributes(13, 1, 2, 8, 8, 2, scores=0),
    "full_channel_width": attributes(13, 13, 2, 12, 12, 4),
    "odd_fold": attributes(11, 11, 2, 15, 3, 3),
    "logits_on_ties": attributes(13, 13, 2, 8, 4, 3, bits=4) | {"logit_mult": 1 << 16, "logit_shift": 19},
    "one_key_group": attributes(6, 6, 2, 8, 2, 6),
    "more_keys_than_channel_groups": attributes(21, 21, 2, 8, 8, 8),
    "four_bits": attributes(18, 18, 3, 8, 4, 4, bits=4, logit_bits=6),
    "four_bits_one_channel": attributes(9, 9, 2, 4, 1, 1, bits=4, logit_bits=4),
    "mixed_widths": attributes(10, 10, 2, 8, 4, 2, bits=6, out_bits=8, logit_bits=5),
    "slow_divider": attributes(9, 9, 2, 4, 4, 4, recip_bits_per_cycle=1),
    "keys_and_values_take_longest": attributes(20, 2, 2, 8, 4, 1),
    "two_queries": attributes(33, 2, 1, 8, 4, 1),
    "wide_score_type": attributes(9, 9, 2, 8, 4, 2, scoreDataType="UINT24"),
    "block_ram": attributes(12, 12, 2, 8, 4, 2, ram_style="block"),
    "block_ram_one_key_group": attributes(6, 6, 2, 8, 8, 6, ram_style="block"),
    "rows_of_block_ram": attributes(46, 2, 3, 16, 4, 1, ram_style="block"),
    "ultra_ram": attributes(12, 12, 2, 8, 4, 2, ram_style="ultra"),
    "ultra_ram_one_word_items": attributes(5, 5, 3, 4, 4, 5, ram_style="ultra"),
    "rows_of_ultra_ram": attributes(60, 3, 3, 24, 2, 1, ram_style="ultra"),
    "rows_of_ultra_ram_many_keys": attributes(230, 2, 3, 12, 1, 4, ram_style="ultra"),
    "many_rows_of_ultra_ram": attributes(90, 1, 4, 24, 1, 1, ram_style="ultra"),
    "one_token": attributes(1, 1, 1, 8, 4, 1),
    "one_token_three_heads": attributes(1, 1, 3, 8, 8, 1),
    "two_tokens": attributes(2, 2, 2, 12, 3, 2),
    "biases": attributes(17, 17, 3, 8, 4, 4, **BIASED),
    "biases_of_the_class_token_alone": attributes(17, 1, 3, 8, 4, 4, **BIASED),
    "biases_one_key_group": attributes(6, 6, 2, 8, 2, 6, **BIASED),
    "biases_a_channel_group_a_cycle": attributes(21, 21, 2, 8, 8, 8, **BIASED),
    "biases_in_block_ram": attributes(40, 5, 3, 8, 4, 1, **BIASED),
    "biases_without_a_shift": attributes(18, 18, 3, 8, 4, 4, bits=4, logit_bits=6, bias_bits=8),
    "biases_larger_than_products": attributes(9, 9, 2, 4, 1, 2, bits=4, **BIASED | {"bias_shift": 9}),
    "biases_one_token": attributes(1, 1, 1, 8, 4, 1, **BIASED),
}


def biases(attrs, seed=4):
    """Random codes for all queries, the ends among them."""
    found = np.random.default_rng(seed).integers(-128, 128, (attrs["heads"], attrs["tokens"], attrs["tokens"]))
    found.flat[:2] = (-128, 127)[: found.size]
    return found


def inputs(attrs, frames=3):
    """Op type, attributes, random streams, the exp table and position biases where there are some."""
    return "PrunedAttention", attrs, random_feed(attrs, frames), initialisers_of(attrs)


def initialisers_of(attrs):
    """The usual exp table, and position biases where there are some."""
    return [table_of(attrs["logit_bits"]), *([biases(attrs)] if attrs.get("bias_bits") else [])]


@pytest.mark.parametrize("name", spread(SHAPES, 8))
def test_rtl_equals_golden_model(name):
    check_op(*inputs(SHAPES[name]), frames_overlap=4)


@pytest.mark.parametrize("name, latency", [
    ("odd_fold", 2), ("block_ram", 3), ("rows_of_block_ram", 4), ("ultra_ram", 3),
    ("rows_of_ultra_ram", 4), ("rows_of_ultra_ram_many_keys", 4), ("many_rows_of_ultra_ram", 5),
])  # fmt: skip
def test_shapes_reach_every_read_latency_of_keys_and_values(name, latency):
    op, _ = build_node("PrunedAttention", SHAPES[name])
    assert op.rtl_parameters()["KV_LATENCY"] == latency


def structured_frames(attrs):
    """Frames that reach the corners: equal logits, saturating logits of both signs, one dominating key."""
    op, _ = build_node("PrunedAttention", attrs)
    q_stream, kv_stream = op.in_streams()
    lo, hi = int(q_stream.dtype.min()), int(q_stream.dtype.max())
    q = np.zeros((6, q_stream.tokens, q_stream.channels), np.int64)
    kv = np.zeros((6, kv_stream.tokens, kv_stream.channels), np.int64)
    k, v = np.split(kv, 2, axis=-1)
    v[0], v[1] = lo, hi  # q = k = 0: all logits equal, O at both ends
    q[2], k[2] = lo, lo  # largest products of all, logits saturate high
    v[2, ::2], v[2, 1::2] = lo, hi
    q[3], k[3], v[3] = lo, hi, lo  # logits saturate low, all equal
    q[4], k[4], v[4] = hi, lo, hi
    k[4, -1] = hi  # the last key, alone in its group or beside padding, takes everything
    q[5], k[5], v[5] = lo, hi, -1
    k[5, 0] = lo  # the first key takes everything
    v[5, 0] = hi
    return [q, np.concatenate([k, v], axis=-1)]


def extreme_inputs(bits, scores, simd, pe):
    """Frames at the corners and a steep table: far from the maximum E is 0, so that a dominating key has all of Z."""
    attrs = attributes(10, 10, 2, 8, simd, pe, bits=bits, scores=scores, logit_bits=bits)
    return "PrunedAttention", attrs, structured_frames(attrs), [exp_table(16 / 2**bits)]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("scores, simd, pe", spread([(0, 4, 4), (1, 4, 4), (1, 4, 3), (0, 2, 5), (1, 8, 7)], 8, several=True))
def test_extreme_codes(bits, scores, simd, pe):
    _, attrs, feed, [table] = case = extreme_inputs(bits, scores, simd, pe)
    op, _ = build_node("PrunedAttention", attrs)
    golden = op.compute(*feed, table)
    if scores:
        assert golden[1][4, -1, 0] == 2 << 16 and golden[1][4, :-1].max() == 0
        assert len(np.unique(golden[1][0])) == 1
    assert golden[0].min() == -(2 ** (bits - 1)) and golden[0].max() == 2 ** (bits - 1) - 1
    check_op(*case, frames_overlap=6, interval=False)


def digits(values, weight):
    """``(high, low)`` codes of accumulators ``weight * high + low``."""
    high = np.rint(values / weight).astype(int)
    return high, values - weight * high


def reciprocal_inputs():
    """Row sums and accumulators at which the last bit of a reciprocal decides a score or a code of O.

    The only logits are the keys' first codes, and E is 255 less the distance to the largest: any row of E is at hand.
    """
    tokens, frames = 16, 80
    num, shift = round(2.93 * 2**26), 26  # small, so that the last bit of num // z counts for something
    constants = {"logit_mult": 1 << 16, "logit_shift": 16, "recip_num": num, "recip_shift": shift}
    attrs = attributes(tokens, 1, 1, 8, 4, 4) | constants
    e, z = tight_pairs(12)
    p = 24 + 12  # of vp_attention_scores
    wrong = (e * -(-(1 << p - 1) // z) >> p - 17 != (e << 16) // z).astype(int)
    held = np.flatnonzero((z >= 256 + e) & (z <= 256 + e + (tokens - 3) * EXP_MAX))
    held = np.random.default_rng(1).permutation(held)
    held = held[np.argsort(-wrong[held], kind="stable")][:frames]
    rest = z[held] - 256 - e[held]
    fill = np.clip(rest[:, None] - EXP_MAX * np.arange(tokens - 3), 0, EXP_MAX)
    exps = np.concatenate([np.tile([EXP_MAX, 1], (frames, 1)), e[held][:, None], fill], axis=1)
    assert np.array_equal(exps.sum(axis=1), z[held]) and wrong[held].sum() >= 2

    q, kv = np.zeros((frames, 1, 8), int), np.zeros((frames, tokens, 16), int)
    q[..., 0], kv[..., 0] = 1, exps - 128
    accs, told = np.arange(-32385, 32386), np.zeros((2, 2), int)
    for frame, recip in enumerate((num // z[held]).tolist()):
        below, codes, above = (requantise(accs, recip + i, shift, 8) for i in (-1, 0, 1))
        tight = [accs[below != codes][:4], accs[above != codes][:4]]
        told[recip % 2] += [len(t) for t in tight]
        channels = np.resize(np.concatenate([*tight, accs[:1]]), 8)
        kv[frame, 0, 8:], kv[frame, 1, 8:] = digits(channels, EXP_MAX)
    assert told.min() >= 40
    return "PrunedAttention", attrs, [q, kv], [EXP_MAX - np.arange(256)]


def logit_inputs():
    """Keys at which the last bit of the logit constant decides a logit, and every distance to the largest one."""
    attrs = attributes(9, 1, 1, 8, 4, 4) | {"logit_mult": 93867, "logit_shift": 23}
    accs = np.concatenate([[11000], deciding(np.arange(-11000, 11000), 93867, 23, 8, count=4)])
    distances = np.rint((127 - np.arange(1, 257).reshape(32, 8)) * 2**23 / 93867).astype(int)
    every = np.concatenate([np.full((32, 1), 12000), np.clip(distances, -12000, 12000)], axis=1)
    keys = np.concatenate([accs[None], every])
    q, kv = np.zeros((33, 1, 8), int), random_stream(build_node("PrunedAttention", attrs)[0].in_streams()[1], 33, 1)
    q[..., 0], q[..., 1] = 127, 1
    kv[..., 0], kv[..., 1] = digits(keys, 127)
    return "PrunedAttention", attrs, [q, kv], [EXP_MAX - np.arange(256)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(24), 2))
def test_drawn_folds(seed):
    """Any fold, width and shape, on random and on structured frames, at the promised interval."""
    rng = np.random.default_rng(SEED * 1000 + seed)
    simd = int(rng.integers(1, 7))
    tokens = int(rng.integers(1, 30))
    pe = int(rng.integers(1, min(tokens, 9) + 1))
    bits, logit_bits = int(rng.integers(2, 9)), int(rng.integers(2, 9))
    queries, heads, groups = int(rng.choice([1, 2, tokens])), int(rng.integers(1, 5)), int(rng.integers(1, 5))
    attrs = attributes(
        tokens, queries, heads, simd * groups, simd, pe, scores=int(rng.integers(0, 2)), bits=bits,
        out_bits=int(rng.integers(2, 9)), logit_bits=logit_bits,
        recip_bits_per_cycle=int(rng.choice([0, 0, 1, 3])), ram_style=str(rng.choice(["auto", "block"])),
        **({"bias_bits": 8, "bias_shift": int(rng.integers(0, 10))} if rng.integers(0, 2) else {}),
    )  # fmt: skip
    print(attrs)
    feed = [np.concatenate(pair) for pair in zip(random_feed(attrs, 3, seed), structured_frames(attrs))]
    check_op("PrunedAttention", attrs, feed, initialisers_of(attrs), patterns=PATTERNS[:3])


def largest_inputs():
    """A flat exp table makes every E 255: Z and the accumulators reach their largest values."""
    attrs = attributes(64, 2, 2, 8, 4, 4)
    return "PrunedAttention", attrs, structured_frames(attrs), [np.full(256, EXP_MAX)]


def test_many_tokens_in_small_tables_never_overflow():
    check_op(*largest_inputs(), frames_overlap=6, interval=False)


def test_last_bit_of_the_reciprocals():
    check_op(*reciprocal_inputs(), patterns=PATTERNS[:1], interval=False)


def test_last_bit_of_the_logit_constant():
    assert_last_bits_count(*logit_inputs(), "logit_mult")
    check_op(*logit_inputs(), patterns=PATTERNS[:1], interval=False)


def check_one_stalled_output(built):
    """Deep stalls of either output lose nothing."""
    feed = feed_of(built.op, frames=5)
    for port in ("out0_V", "out1_V"):
        for stimulus in (Stimulus(seed=3, stall={port: 0.97}), Stimulus(seed=4, stall={port: 0.5}, burst=700)):
            assert_ok(built.run(feed, stimulus), built, feed, stimulus)


@pytest.mark.parametrize("queries", sampled([12, 1], 1))
def test_deep_stalls_on_one_output_only(queries):
    check_one_stalled_output(build(attributes(12, queries, 3, 8, 4, 4)))


def check_late_scores(built):
    """A token drop takes the scores late: all of a frame's O must come without them."""
    feed = feed_of(built.op, frames=1)
    result = built.run(feed, Stimulus(seed=1, stall={"out1_V": 0.8}, burst=100))
    assert_ok(result, built, feed, Stimulus())
    assert result.out_cycles["out0_V"][-1] < result.out_cycles["out1_V"][-1]
    free = built.run(feed)
    assert result.out_cycles["out0_V"][-1] == free.out_cycles["out0_V"][-1]


def test_a_frame_of_outputs_leaves_while_no_score_is_taken():
    check_late_scores(build(attributes(12, 12, 2, 8, 4, 4)))


def check_late_keys(built):
    """Two frames of K and V, one of them slow to come: the first frame's outputs are out long before."""
    feed = feed_of(built.op, frames=2)
    single = built.run([s[:1] for s in feed])
    result = built.run(feed, Stimulus(seed=7, pause={"in1_V": 0.9}))
    assert_ok(result, built, feed, Stimulus())
    beats = built.op.out_streams()[0].beats
    own = result.in_cycles["in1_V"][built.op.in_streams()[1].beats - 1]
    lag = single.out_cycles["out0_V"][beats - 1] - single.in_cycles["in1_V"][-1]
    assert result.out_cycles["out0_V"][beats - 1] - own <= lag + 2
    assert result.out_cycles["out0_V"][beats - 1] < result.in_cycles["in1_V"][-1]


def test_a_frame_does_not_wait_for_the_keys_of_the_next():
    check_late_keys(build(attributes(12, 12, 2, 8, 4, 4)))


def test_interval_at_a_real_shape():
    """50 tokens, 3 heads of 64 channels: no bubble between items or frames."""
    attrs = attributes(50, 50, 3, 64, 16, 4)
    checked = check_op("PrunedAttention", attrs, random_feed(attrs, frames=2), [table_of(8)], patterns=())
    assert checked.built.op.get_exp_cycles() == 50 * 3 * 13 * 4
    assert abs(checked.interval - 50 * 3 * 13 * 4) <= 2


@pytest.mark.parametrize(
    "change, words",
    [
        ({"SIMD": 3}, "SIMD 3 does not divide head_dim 8: use one of [1, 2, 4, 8]"),
        ({"PE": 18}, "PE 18 exceeds the 17 tokens"),
        ({"heads": 0}, "heads is 0"),
        ({"inputDataType": "INT16"}, "inputDataType INT16 is not supported"),
        ({"logit_mult": 1 << 17}, "logit_mult 131072 is outside"),
        ({"recip_num": 255 << 25}, "does not fit 25 bits"),
        ({"scoreDataType": "UINT17"}, "use UINT18 or wider"),
    ],
)
def test_bad_attributes_are_named(change, words):
    op, _ = build_node("PrunedAttention", attributes(17, 17, 3, 8, 4, 4) | change)
    with pytest.raises((UserError, ValueError)) as error:
        op.verify_node()
    assert words in str(error.value)


@pytest.mark.parametrize("table", [np.full(256, 256), np.arange(256), np.full(128, 255)])
def test_bad_tables_are_refused(table):
    attrs = attributes(5, 5, 1, 8, 4, 1)
    op, model = build_node("PrunedAttention", attrs, [table])
    with pytest.raises(UserError, match="exp table must have 256 entries"):
        op.memories(model)


def negative_inputs(tokens, pe, simd):
    """Op type, attributes, streams whose logits are all negative, and the exp table."""
    attrs = attributes(tokens, tokens, 2, 16, simd, pe, scores=0)
    q, kv = random_feed(attrs, frames=2)
    q = np.abs(q) // 2 + 40
    kv[..., : kv.shape[-1] // 2] = -np.abs(kv[..., : kv.shape[-1] // 2]) // 2 - 20
    return "PrunedAttention", attrs, [q, kv], [table_of(8)]


@pytest.mark.parametrize("tokens, pe, simd", sampled([(17, 9, 2), (11, 5, 4)], 1, several=True))
def test_missing_keys_never_win_the_maximum_of_negative_logits(tokens, pe, simd):
    check_op(*negative_inputs(tokens, pe, simd))


COMMON = {"head_dim": 8, "SIMD": 4, "PE": 4}


def shared(*encoders, bias_shifts=(), **common):
    """Uses of a unit by encoders, each with tokens, queries, heads, scores, factors of its constants and the step of its table; with
    ``bias_shifts`` each has position biases, too.
    """
    uses = []
    for i, (tokens, queries, heads, scores, logit, recip, step) in enumerate(encoders):
        fold = COMMON | common
        dim, simd, pe = (fold.pop(name) for name in ("head_dim", "SIMD", "PE"))
        attrs = attributes(tokens, queries, heads, dim, simd, pe, scores=scores, **fold)
        mult, shift = snap_ratio(logit * attrs["logit_mult"] / 2 ** attrs["logit_shift"])
        num, recip_shift = reciprocal_constant(recip * attrs["recip_num"] / 2 ** attrs["recip_shift"])
        constants = {"logit_mult": int(mult), "logit_shift": shift, "recip_num": num, "recip_shift": recip_shift}
        attrs |= constants | ({"bias_bits": 8, "bias_shift": bias_shifts[i]} if bias_shifts else {})
        uses.append(Use(attrs, (exp_table(step / 2 ** attrs["logit_bits"]), *([biases(attrs, i)] if bias_shifts else []))))
    return uses


SHARED = {
    "three_sizes": shared((17, 17, 4, 1, 1, 1, 8), (12, 12, 1, 0, 0.3, 0.4, 12), (9, 1, 3, 0, 1.8, 2.5, 4)),
    "scores_of_all": shared((11, 11, 2, 1, 1, 1, 8), (20, 20, 3, 1, 0.7, 1, 8), (7, 1, 1, 1, 1, 0.6, 3)),
    "more_keys_at_once_than_tokens": shared((13, 13, 2, 1, 1, 1, 8), (3, 3, 2, 1, 1, 1, 6), (1, 1, 1, 1, 1, 1, 8), PE=6),
    "one_token": shared((1, 1, 1, 1, 1, 1, 8), (2, 2, 1, 1, 0.1, 8, 3), SIMD=8, PE=1),
    "no_scores": shared((10, 10, 2, 0, 1, 1, 8), (10, 1, 2, 0, 1, 1, 8), SIMD=8, PE=10),
    "five_of_four_bits": shared(
        (18, 18, 3, 0, 0.13, 4, 5), (15, 15, 1, 1, 0.5, 2, 3), (11, 11, 2, 1, 0.25, 3, 4), (6, 6, 1, 0, 0.5, 2, 2),
        (6, 1, 2, 0, 1, 1, 1), SIMD=2, PE=3, bits=4, logit_bits=5,
    ),
    "one_channel_group": shared((14, 14, 1, 1, 1, 1, 8), (9, 3, 2, 1, 0.5, 0.7, 5), (12, 1, 1, 0, 1, 1.6, 8), SIMD=8, PE=1),
    "items_of_a_cycle": shared((4, 4, 4, 1, 1, 1, 8), (3, 3, 2, 0, 1, 1.3, 4), (4, 1, 3, 0, 0.6, 1, 8), SIMD=8),
    "biases": shared((17, 17, 4, 1, 1, 1, 8), (12, 12, 1, 0, 0.3, 0.4, 12), (9, 1, 3, 0, 1.8, 2.5, 4), bias_shifts=(5, 3, 7)),
    "biases_of_one_shift": shared((9, 9, 2, 1, 1, 1, 8), (9, 1, 2, 1, 0.5, 1, 5), bias_shifts=(4, 4), SIMD=8, PE=9),
    "biases_in_block_ram": shared((31, 31, 3, 1, 1, 1, 8), (31, 5, 2, 0, 0.5, 1, 6), bias_shifts=(6, 5), PE=1),
    "ultra_ram": shared((30, 2, 2, 1, 1, 1, 8), (12, 12, 3, 1, 2, 1, 8), head_dim=12, SIMD=2, PE=2, ram_style="ultra"),
}  # fmt: skip
"""Encoders that share a unit."""


LATE = (
    Stimulus(seed=17, pause={"in0_V": 0.9}, burst=20), Stimulus(seed=18, stall={"out1_V": 0.9}, burst=40),
    Stimulus(seed=19, stall={"out0_V": 0.3}, burst=200),
)  # fmt: skip
"""Late queries, late takers of scores, of O: then items wait, which follow one another at once."""


@pytest.mark.parametrize("name", spread(SHARED, 8))
def test_encoders_share_a_unit(name):
    check_shared("PrunedAttention", SHARED[name], patterns=(*PATTERNS, *LATE))


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(12), 1))
def test_drawn_encoders_share_a_unit(seed):
    """Two to five encoders of any sizes and constants, at any fold."""
    rng = np.random.default_rng(SEED * 1000 + seed)
    simd, groups = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    tokens = rng.integers(1, rng.choice([4, 30, 60]), int(rng.integers(2, 6)), endpoint=True).tolist()
    encoders = [
        (n, int(rng.choice([1, n])), int(rng.integers(1, 5)), int(rng.integers(0, 2)),
         *(2 ** rng.uniform([-3, -2, 1], [1, 2, 4])).tolist()) for n in tokens
    ]  # fmt: skip
    common = {
        "head_dim": simd * groups, "SIMD": simd, "PE": int(rng.integers(1, min(max(tokens), 9) + 1)),
        "bits": int(rng.integers(2, 9)), "out_bits": int(rng.integers(2, 9)), "logit_bits": int(rng.integers(2, 9)),
        "recip_bits_per_cycle": int(rng.choice([0, 0, 1, 3])), "ram_style": str(rng.choice(["auto", "block"])),
        "bias_shifts": tuple(int(rng.integers(0, 10)) for _ in tokens) if rng.integers(0, 2) else (),
    }  # fmt: skip
    print(encoders, common)
    check_shared("PrunedAttention", shared(*encoders, **common), seed=seed, patterns=(*PATTERNS[:3], *LATE))


def test_the_bias_of_every_pair_is_added_before_logits_are_rounded():
    """Query by query, head by head and key by key."""
    op_type, attrs, (q, kv), (table, bias) = inputs(SHAPES["biases"], frames=1)
    op, _ = build_node(op_type, attrs, [table, bias])
    heads, dim, tokens = attrs["heads"], attrs["head_dim"], attrs["tokens"]
    width, moved = heads * dim, 0
    out = np.zeros((tokens, width), np.int64)
    for i in range(tokens):
        for h in range(heads):
            own = slice(h * dim, (h + 1) * dim)
            k, v = kv[0][:, own], kv[0][:, width + h * dim : width + (h + 1) * dim]
            sums = [int(q[0, i, own] @ k[j]) + int(bias[h, i, j]) * 32 for j in range(tokens)]
            logits = requantise(np.array(sums), attrs["logit_mult"], attrs["logit_shift"], 8)
            moved += int((logits != requantise(k @ q[0, i, own], attrs["logit_mult"], attrs["logit_shift"], 8)).sum())
            e = table[logits.max() - logits]
            out[i, own] = requantise(e @ v, attrs["recip_num"] // int(e.sum()), attrs["recip_shift"], 8)
    assert np.array_equal(op.compute(q, kv, table, bias)[0][0], out) and moved > tokens * tokens


def test_codes_of_a_bias_are_as_fine_as_its_largest_value_allows():
    assert bias_shift(127 * 0.001, 0.001) == 0 and bias_shift(128 * 0.001, 0.001) == 1 and bias_shift(5.0, 0.0007) == 6
    assert bias_shift(0.0, 0.001) == 0 and 5.0 / (0.0007 * 2**6) <= 127 < 5.0 / (0.0007 * 2**5)


@pytest.mark.parametrize(
    "change, bias, message",
    [
        ({"bias_bits": 7}, 0, "bias_bits is 7: use 8, or 0"),
        ({"bias_shift": 21}, 0, "bias_shift 21 is outside 0 to 20"),
        ({}, 1, "codes of the position bias are -127 to 128: they must have 8 bits"),
    ],
)
def test_what_the_unit_does_not_hold_is_named(change, bias, message):
    attrs = SHAPES["biases"]
    with pytest.raises(UserError, match=message):
        build_op("PrunedAttention", attrs | change, [table_of(8), biases(attrs) + bias])
