"""VitTokenDrop: exact for every choice of tokens, and as fast for one image as for another."""

import os

import numpy as np
import pytest

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus
from finn_vitprune.synth.yosys import synth_node
from tests.rtl.benches import helper
from tests.rtl.benches.helper import PART, PATTERNS, assert_ok, build_node, build_op, check_op
from tests.sampling import sampled, spread

SEED = int(os.environ.get("VITPRUNE_ESTIMATE_SEED", "1"))
LATE_SCORES = (
    Stimulus(seed=31, pause={"in1_V": 0.95}),
    Stimulus(seed=32, pause={"in1_V": 0.6, "in0_V": 0.1}, stall=0.2, burst=30),
    Stimulus(seed=33, pause={"in0_V": 0.9}),
)


def attrs(tokens, channels, simd, k, heads=2, ranking="auto", prefix=1):
    """Node attributes; the score type holds the sum over ``heads`` of at most 2**16 each."""
    mult, shift = numerics.head_mean_constant(heads)
    return {
        "tokens": tokens,
        "channels": channels,
        "SIMD": simd,
        "k": k,
        "prefix": prefix,
        "mult": mult,
        "shift": shift,
        "scoreDataType": f"UINT{(heads << 16).bit_length()}",
        "ranking": ranking,
    }


def attention_scores(frames, tokens, heads, seed=1):
    """Scores ``[frames, tokens, 1]`` as attention gives them: per head at most 2**16 in all."""
    share = np.random.default_rng(seed).dirichlet(np.ones(tokens), (frames, heads))
    return np.floor(share * 65536).astype(np.int64).sum(1)[..., None]


def codes(frames, tokens, channels, seed=2):
    """Codes over the whole range of INT16, its ends frequent."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-32768, 32768, (frames, tokens, channels))
    return np.where(rng.random(x.shape) < 0.1, rng.choice([-32768, 32767], x.shape), x)


CASES = [
    # tokens, channels, SIMD, k, heads, ranking, cycles a frame
    pytest.param(17, 48, 4, 8, 2, "insert", 204 + 24 + 11, id="half kept"),
    pytest.param(17, 48, 4, 12, 3, "insert", 204 + 24 + 11, id="ranks the dropped ones"),
    pytest.param(17, 48, 1, 5, 6, "insert", 816 + 48 + 11, id="one element a beat"),
    pytest.param(17, 48, 12, 15, 2, "insert", 68 + 8 + 10, id="one dropped"),
    pytest.param(17, 48, 6, 1, 1, "insert", 136 + 16 + 11, id="one kept"),
    pytest.param(17, 48, 4, 16, 2, "insert", 204, id="none dropped"),
    pytest.param(3, 8, 2, 1, 6, "insert", 12 + 8 + 11, id="three tokens"),
    pytest.param(9, 24, 8, 4, 12, "insert", 15 + 16 + 6 + 11, id="three beats a token, four if dropped"),
    pytest.param(9, 16, 8, 4, 12, "insert", 10 + 16 + 4 + 11, id="two beats a token, four if dropped"),
    pytest.param(9, 16, 16, 7, 3, "insert", 16 + 4 + 2 + 11, id="a beat a token, one dropped"),
    pytest.param(80, 16, 8, 30, 3, "insert", 31 * 4 + 49 * 4 + 8 + 11, id="four groups a beat"),
    pytest.param(60, 12, 3, 20, 2, "insert", 60 * 4 + 12 + 11, id="three groups a beat"),
    pytest.param(17, 48, 1, 12, 1, "histogram", 17 + 8192 + 65, id="histograms, mostly sweeping"),
    pytest.param(40, 130, 1, 38, 4, "histogram", 40 + 8192 + 65, id="histograms, one dropped"),
    pytest.param(200, 24, 2, 99, 1, "histogram", 2400 + 24 + 11, id="histograms, scores in block RAM"),
    pytest.param(100, 40, 8, 1, 1, "histogram", None, id="histograms, one kept"),
]


@pytest.mark.parametrize("tokens,channels,simd,k,heads,ranking,cycles", spread(CASES, 4))
def test_equals_golden_model_at_its_interval(tokens, channels, simd, k, heads, ranking, cycles):
    shape = attrs(tokens, channels, simd, k, heads, ranking)
    op, _ = build_node("VitTokenDrop", shape)
    if cycles is None:
        with pytest.raises(UserError, match="use insert"):
            op.verify_node()
        return
    assert op.get_exp_cycles() == cycles
    streams = [codes(5, tokens, channels), attention_scores(5, tokens, heads)]
    check_op("VitTokenDrop", shape, streams, frames_overlap=5, patterns=PATTERNS + LATE_SCORES)


def tied_scores(n, heads, k):
    """Scores ``[frames, n, 1]``: zero, equal, all on one token, few levels, S_0 large, at the limits."""
    limit, rng = heads << 16, np.random.default_rng(k)
    s = rng.integers(0, 3, (12, n, 1)) * 7
    s[0], s[1] = 0, limit // (n - 1)
    s[2], s[2, n // 2] = 0, limit
    s[3, :, 0] = np.arange(n) // 3
    s[4, :, 0] = np.arange(n)[::-1] // 3
    s[5, 0] = limit
    s[6], s[6, -k:] = 0, limit // k  # the k-th largest score is as large as it can be
    s[7], s[7, : k + 2] = 0, limit // (k + 1)  # and so is a dropped one
    s[8], s[8, 1 : k + 1] = 0, limit // k
    s[9] = rng.permutation(n)[:, None] * (limit // n**2)
    return s


@pytest.mark.parametrize(
    "n,k,heads,ranking",
    spread(
        [
            (11, 1, 2, "insert"),
            (11, 4, 2, "insert"),
            (11, 7, 3, "insert"),
            (11, 9, 2, "insert"),
            (60, 58, 1, "histogram"),
            (60, 30, 1, "histogram"),
            (60, 7, 1, "histogram"),
        ],
        8,
        several=True,
    ),
)
def test_ties_of_every_kind(n, k, heads, ranking):
    shape = attrs(n, 32, 8, k, heads, ranking)
    check_op("VitTokenDrop", shape, [codes(12, n, 32), tied_scores(n, heads, k)], patterns=LATE_SCORES[:2], interval=False)


def tied_behind(prefix, n, heads, k):
    """:func:`tied_scores` of the tokens behind a prefix, whose own scores are as large as they can be."""
    s = tied_scores(n - prefix + 1, heads, k)
    return np.concatenate([np.full((len(s), prefix, 1), heads << 16), s[:, 1:]], axis=1)


PREFIX_CASES = [
    # prefix, tokens, channels, SIMD, k, heads, ranking; beats that the kept and dropped tokens and the fused one take
    pytest.param(2, 18, 48, 4, 8, 2, "insert", 18 * 12 + 24 + 11, id="class and distillation token"),
    pytest.param(5, 21, 48, 4, 12, 3, "insert", 21 * 12 + 24 + 11, id="class token and 4 registers, ranks the dropped ones"),
    pytest.param(5, 13, 16, 16, 3, 2, "insert", 8 * 2 + 5 * 4 + 2 + 11, id="a beat a token"),
    pytest.param(5, 64, 32, 8, 30, 1, "histogram", None, id="histograms"),
    pytest.param(16, 19, 24, 8, 1, 1, "insert", 17 * 3 + 2 * 4 + 6 + 11, id="more prefix than patches"),
    pytest.param(3, 6, 48, 4, 3, 2, "insert", 6 * 12, id="none dropped"),
]


@pytest.mark.parametrize("prefix,tokens,channels,simd,k,heads,ranking,cycles", spread(PREFIX_CASES, 4))
def test_a_prefix_of_several_tokens_stays(prefix, tokens, channels, simd, k, heads, ranking, cycles):
    """Whatever its scores are; the kept rows by hand, at the interval, and ties of every kind behind it."""
    shape = attrs(tokens, channels, simd, k, heads, ranking, prefix)
    streams = [codes(5, tokens, channels), attention_scores(5, tokens, heads)]
    checked = check_op("VitTokenDrop", shape, streams, frames_overlap=5, patterns=PATTERNS + LATE_SCORES)
    assert cycles is None or checked.built.op.get_exp_cycles() == cycles
    (kept,) = checked.built.op.compute(*streams)
    for x, s, y in zip(streams[0], streams[1][..., 0], kept):
        best = sorted(range(prefix, tokens), key=lambda i: (-s[i], i))[:k]
        assert np.array_equal(y[: prefix + k], x[[*range(prefix), *sorted(best)]])
    if k < tokens - prefix:
        ties = [codes(12, tokens, channels), tied_behind(prefix, tokens, heads, k)]
        check_op("VitTokenDrop", shape, ties, patterns=LATE_SCORES[:2], interval=False)


def test_rows_of_the_prefix_wait_for_no_score():
    """All of them leave before the first score is there."""
    n, d, prefix = 9, 16, 4
    built = build_op("VitTokenDrop", attrs(n, d, 1, 2, prefix=prefix))
    x, s = codes(2, n, d), attention_scores(2, n, 2)
    result = built.run([x, s], Stimulus(seed=5, pause={"in1_V": 0.98}, burst=50))
    assert_ok(result, built, [x, s], Stimulus())
    assert result.out_cycles["out0_V"][prefix * d - 1] < result.in_cycles["in1_V"][n - 1]


def extreme_frames(heads):
    """``[x, s]``: dropped tokens at one end of the range, with as much of the scores as they can have, or all."""
    n, total = 6, heads << 16
    x = np.full((3, n, 8), -32768)
    x[1] = 32767
    x[2, :, ::2] = 32767
    spread, two = np.full((3, n, 1), total // (n - 1)), np.zeros((3, n, 1), int)
    two[:, 1:3] = total // 2
    return [np.concatenate([x, x]), np.concatenate([spread, two])]


@pytest.mark.parametrize("heads", sampled([1, 3], 1))
def test_fused_token_reaches_its_ends(heads):
    built, feed = build_op("VitTokenDrop", attrs(6, 8, 2, 1, heads)), extreme_frames(heads)
    assert_ok(built.run(feed), built, feed, Stimulus())


def half_frames(heads):
    """``[x, s]``: sums that lie exactly between two codes (where the heads are a power of two, 1 / H is exact)."""
    half = heads << 15
    x = np.arange(-8, 8).reshape(1, 1, 16).repeat(4, 1) * np.array([0, 0, 1, 1])[None, :, None]
    return [x, np.array([0, half, half // 2, half // 2])[None, :, None]]


@pytest.mark.parametrize("heads", spread([1, 2, 4], 4))
def test_fused_token_rounds_half_to_even(heads):
    built, feed = build_op("VitTokenDrop", attrs(4, 16, 4, 1, heads)), half_frames(heads)
    assert_ok(built.run(feed), built, feed, Stimulus())
    fused = built.expected(feed)[0][0, -1]
    assert np.array_equal(fused, np.rint(np.arange(-8, 8) / 2).astype(int)), "half of x, ties to even"


def _images(n, k, frames):
    """Scores that keep the first, the last, every other, a random set of tokens."""
    rng = np.random.default_rng(k)
    rising = np.arange(n) * 90 + 5
    alternating = np.where(np.arange(n) % 2 == 0, 2000, 1000) + np.arange(n)
    first, last = np.tile(rising[::-1], (frames, 1)), np.tile(rising, (frames, 1))
    random = np.stack([rng.permutation(rising) for _ in range(frames)])
    mixed = np.stack([(first[0], last[0], alternating, random[0])[f % 4] for f in range(frames)])
    swing = np.where(np.arange(frames)[:, None] % 2 == 0, last, first)
    named = {"first": first, "last": last, "alternating": np.tile(alternating, (frames, 1)), "swing": swing}
    return {name: s[..., None] for name, s in (named | {"random": random, "mixed": mixed}).items()}


def check_pace(built):
    """Frames go in and out at one pace, whatever is kept, and the FIFO of output_fifo_tokens() never overflows."""
    op, frames = built.op, 24
    n, d, simd, k = (op.get_nodeattr(name) for name in ("tokens", "channels", "SIMD", "k"))
    x, beats, out_beats = codes(frames, n, d), n * d // simd, op.folding().tokens_out * d // simd
    for name, s in _images(n, k, frames).items():
        result = built.run([x, s])
        assert_ok(result, built, [x, s], Stimulus())
        taken = result.in_cycles["in0_V"][2 * beats :: beats]
        assert np.ptp(taken - op.get_exp_cycles() * np.arange(len(taken))) <= 4, f"{name}: pace of the frames"
        interval = result.intervals("out0_V", out_beats)[2:]
        assert set(interval) == {op.get_exp_cycles()}, f"{name}: {interval} cycles a frame leaves in"
        fill = _fill(result.out_cycles["out0_V"], op.get_exp_cycles() / out_beats)
        assert fill <= op.output_fifo_tokens() * d // simd, f"{name}: {fill} beats wait"


FOLDS = [(4, 8), (4, 15), (12, 15), (24, 12), (48, 15), (48, 8), (1, 3), (2, 5), (2, 1)]


@pytest.mark.parametrize("simd,k", spread(FOLDS, 16, several=True))
def test_interval_does_not_depend_on_the_kept_tokens(simd, k):
    """Nor does the FIFO that output_fifo_tokens() asks for ever overflow before a slower consumer."""
    check_pace(build_op("VitTokenDrop", attrs(17, 48, simd, k)))


def _fill(arrivals, service):
    """Largest number of beats that wait in a queue whose consumer takes ``service`` cycles a beat."""
    free, leaves = 0.0, []
    for cycle in arrivals:
        free = max(free, float(cycle)) + service
        leaves.append(free)
    leaves = np.array(leaves) - service  # a beat leaves the queue when its service starts
    return max(int(i + 1 - np.searchsorted(leaves, cycle, side="right")) for i, cycle in enumerate(arrivals))


def test_row_zero_passes_before_any_score():
    n, d = 5, 8
    built = build_op("VitTokenDrop", attrs(n, d, 1, 2))
    x, s = codes(2, n, d), attention_scores(2, n, 2)
    result = built.run([x, s], Stimulus(seed=5, pause={"in1_V": 0.98}, burst=50))
    assert_ok(result, built, [x, s], Stimulus())
    assert result.out_cycles["out0_V"][d - 1] < result.in_cycles["in1_V"][n - 1]


def check_loaded_again(built):
    """Another network than the one that is there is loaded: what was made ready for the one before is forgotten."""
    own = {
        name: built.op.get_nodeattr(name)
        for name in ("tokens", "channels", "SIMD", "k", "prefix", "mult", "shift", "ranking", "least", "scoreDataType")
    }
    tokens, k, _ = own["least"]
    streams = [codes(3, own["tokens"], own["channels"]), attention_scores(3, own["tokens"], built.op.folding().heads)]
    helper.check_loaded_again(built, ("VitTokenDrop", own | {"tokens": tokens, "k": k, "loaded": 1}, ()), streams)


def check_rank(built):
    """From the last score, given last of all, to the row that waits for it: rank_cycles(), whatever the scores are."""
    op = built.op
    n, d, k = (op.get_nodeattr(name) for name in ("tokens", "channels", "k"))
    for top in (65536 // k, 65536 // (3 * k), 0):  # the k-th largest is in the top bins, the middle, the bottom
        x, s = codes(1, n, d), np.zeros((1, n, 1), np.int64)
        s[0, 1 : k + 1] = top
        result = built.run([x, s], Stimulus(seed=6, pause={"in1_V": 0.99}, burst=40))
        assert_ok(result, built, [x, s], Stimulus())
        row_one = result.in_cycles["in0_V"][d + 1]  # the spare register took one beat, this one had to wait
        assert row_one - result.in_cycles["in1_V"][-1] == op.folding().ranking.cycles + 1, top


@pytest.mark.parametrize("ranking", ["insert", "histogram"])
def test_ranking_takes_rank_cycles(ranking):
    check_rank(build_op("VitTokenDrop", attrs(60, 48, 1, 30, 1, ranking=ranking)))


def _chosen(tokens, channels, simd, k, heads=6, **more):
    return build_node("VitTokenDrop", attrs(tokens, channels, simd, k, heads) | more)[0]


def test_ranking_is_the_cheapest_that_one_percent_hides():
    """DeiT-Small: the slower the fold the fewer levels; insertion where no search ends in time."""
    slow, middle, fast, small = (_chosen(*shape) for shape in ((197, 384, 1, 99), (197, 384, 8, 99), (197, 384, 48, 99), (17, 48, 4, 8)))
    assert len(slow.folding().ranking.digits) < len(middle.folding().ranking.digits)
    assert fast.folding().ranking.digits == small.folding().ranking.digits == ()
    for op, rest in ((slow, 13), (middle, 11)):  # sums in block RAM, in LUTRAM
        assert 6 < op.folding().ranking.cycles <= 0.01 * op.get_exp_cycles()
        assert op.get_exp_cycles() == 197 * op.folding().beats + 384 + rest, "sweeping the bins takes less than a frame"
        assert op.folding().ranking.cost < op.folding().insertion.cost
    known = _chosen(197, 384, 8, 99, interval=18912)
    assert middle.folding().ranking.cycles < known.folding().ranking.cycles <= 189, "the graph's interval allows more"
    assert known.lut_estimation(PART) < middle.lut_estimation(PART)


def test_folding_hands_on_the_interval():
    op = _chosen(197, 384, 1, 99)
    choice = op.folding().for_interval(15000).attributes()
    assert choice["interval"] == 15000 and op.get_nodeattr("interval") == 0
    for name, value in choice.items():
        op.set_nodeattr(name, value)
    assert op.get_exp_cycles() <= 15000 < 1.5 * op.get_exp_cycles()
    assert op.folding().ranking.cycles <= 150


@pytest.mark.parametrize(
    "change,message",
    [
        ({"k": 0}, "k 0 tokens to keep of 9: use 1 to 8"),
        ({"k": 9}, "k 9 tokens"),
        ({"prefix": 0}, "prefix 0 of 9 tokens: use 1 to 8"),
        ({"prefix": 9}, "prefix 9 of 9 tokens: use 1 to 8"),
        ({"prefix": 7}, "k 3 tokens to keep of 9 besides the first 7: use 1 to 2"),
        ({"mult": 0}, "mult 0 must be"),
        ({"scoreDataType": "INT18"}, "scores are INT18"),
        ({"scoreDataType": "UINT32"}, "at most 26 bits"),
        ({"inputDataType": "INT8"}, "only INT16"),
        ({"mult": 3, "shift": 2}, "mult 3 \\* 2\\*\\*-2 must be one over the number of heads"),
        ({"tokens": 9000}, "9000 tokens: use at most 8192"),
        ({"ranking": "histogram", "k": 1}, "takes 16 bits of score, not 18"),
    ],
)
def test_what_the_unit_cannot_do_is_named(change, message):
    with pytest.raises(UserError, match=message):
        build_node("VitTokenDrop", attrs(9, 8, 1, 3) | change)[0].verify_node()


def test_scores_that_no_attention_gives_are_refused():
    op, _ = build_node("VitTokenDrop", attrs(4, 2, 1, 1))
    with pytest.raises(ValueError, match="more than 131072"):
        op.compute(np.zeros((1, 4, 2), np.int64), np.array([[[0], [65536], [65536], [1]]]))


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16])
@pytest.mark.parametrize("n,k", [(9, 3), (9, 7), (197, 99), (197, 1), (3, 1)])
def test_widths_hold_all_that_scores_of_an_attention_can_give(n, k, heads):
    """Against the extreme cases, built by hand: k or k + 1 equal scores, or all of them equal."""
    op, _ = build_node("VitTokenDrop", attrs(n, 8, 1, k, heads))
    limit = heads << 16
    assert op.folding().heads == heads and op.in_streams()[1].dtype.max() >= limit
    threshold, dropped = limit // k, limit // (k + 1)
    assert op.folding().rank_bits == op.folding().score_bits or threshold < (1 << op.folding().rank_bits) - 1
    assert dropped < 1 << op.folding().drop_bits
    total = (n - 1 - k) * (limit // (n - 1))
    assert total * 32768 <= 1 << (op.folding().acc_bits - 1) and op.folding().acc_bits <= 32 + (heads - 1).bit_length()


def _synthesised(shape, folder):
    op, model = build_node("VitTokenDrop", shape)
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.code_generation_ipgen(model, PART, 5.0)
    return op, synth_node(op.get_rtl_file_list(abspath=True), "unit")


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.parametrize("k", sampled([99, 138], 1))
def test_deit_small_takes_2100_luts_and_no_dsp(k, tmp_path):
    """197 tokens of 384 channels, 6 heads, keep rates .5 and .7, eight elements a cycle."""
    op, found = _synthesised(attrs(197, 384, 8, k, 6), tmp_path)
    assert found.LUT <= 2100 and found.DSP == 0 and found.BRAM36 <= 1.5, found
    assert op.get_exp_cycles() <= 1.05 * 197 * 384 / 8 and op.folding().ranking.cycles <= 0.01 * op.get_exp_cycles()


def _drawn(seed):
    """A shape of any size; heads whose reciprocal needs a product, and heads that are a power of two."""
    rng = np.random.default_rng(seed)
    n, simd = int(rng.choice([5, 12, 17, 34, 50, 65, 101, 197, 257, 577])), int(rng.choice([1, 2, 3, 4, 8]))
    k = int(np.clip(round(n * rng.choice([0.1, 0.3, 0.5, 0.7, 0.9])), 1, n - 2))
    channels = simd * int(rng.choice([3, 8, 24, 48, 96, 128]))
    return attrs(n, channels, simd, k, int(rng.choice([1, 2, 3, 4, 6, 12]))) | {
        "ram_style": str(rng.choice(["auto", "distributed", "block"])), "loaded": seed % 2,
    }  # fmt: skip


FIXED = {
    "insert": attrs(17, 48, 4, 8, 2),
    "loaded": attrs(50, 96, 4, 25, 3) | {"loaded": 1},
    "dropped ranked": attrs(33, 64, 2, 28, 3),
    "none dropped": attrs(12, 24, 4, 11, 3),
    "one dropped": attrs(12, 24, 8, 10, 1),
    "histograms": attrs(197, 384, 4, 99, 6),
    "loaded, 197 tokens": attrs(197, 384, 8, 99, 6) | {"loaded": 1},
}


@pytest.mark.parametrize(
    "shape", sampled([*FIXED.values(), *(_drawn(SEED + i) for i in range(6))], 2), ids=[*FIXED, *(f"drawn {SEED + i}" for i in range(6))]
)
def test_estimates_agree_with_yosys(shape, tmp_path):
    """DSP and block RAM exact, LUT within 20 %."""
    op, found = _synthesised(shape, tmp_path)
    estimate = op.node_res_estimation(PART)
    text = f"{shape}: estimate {dict(estimate)}, Yosys {found}"
    exact = (estimate["DSP"], estimate["BRAM_18K"] / 2, estimate["URAM"])
    assert exact == (found.DSP, found.BRAM36, found.URAM), text
    assert abs(estimate["LUT"] - found.LUT) <= 0.2 * found.LUT, text
