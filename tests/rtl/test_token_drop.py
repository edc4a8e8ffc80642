"""VitTokenDrop: exact for every choice of tokens, and as fast for one image as for another."""

import numpy as np
import pytest
from helper import PART, PATTERNS, assert_ok, build_node, build_op, check_op

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus
from finn_vitprune.synth.yosys import synth_node

LATE_SCORES = (
    Stimulus(seed=31, pause={"in1_V": 0.95}),
    Stimulus(seed=32, pause={"in1_V": 0.6, "in0_V": 0.1}, stall=0.2, burst=30),
    Stimulus(seed=33, pause={"in0_V": 0.9}),
)


def attrs(tokens, channels, simd, k, heads=2, ranking="auto"):
    """Node attributes; the score type holds the sum over ``heads`` of at most 2**16 each."""
    mult, shift = numerics.head_mean_constant(heads)
    return {"tokens": tokens, "channels": channels, "SIMD": simd, "k": k, "mult": mult, "shift": shift,
            "scoreDataType": f"UINT{(heads << 16).bit_length()}", "ranking": ranking}


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
    # tokens, channels, SIMD, k, heads, ranking
    pytest.param(17, 48, 4, 8, 2, "insert", id="half kept"),
    pytest.param(17, 48, 4, 12, 3, "insert", id="ranks the dropped ones"),
    pytest.param(17, 48, 1, 5, 6, "insert", id="one element a beat"),
    pytest.param(17, 48, 12, 15, 2, "insert", id="one dropped"),
    pytest.param(17, 48, 6, 1, 1, "insert", id="one kept"),
    pytest.param(17, 48, 4, 16, 2, "insert", id="none dropped"),
    pytest.param(9, 16, 16, 7, 3, "insert", id="a token a beat, one dropped"),
    pytest.param(9, 16, 16, 3, 3, "insert", id="a token a beat"),
    pytest.param(9, 16, 8, 4, 12, "insert", id="two beats a token"),
    pytest.param(3, 8, 2, 1, 6, "insert", id="three tokens"),
    pytest.param(17, 48, 1, 8, 2, "search", id="search"),
    pytest.param(34, 48, 2, 20, 3, "search", id="search, last word partly filled"),
    pytest.param(5, 96, 1, 2, 2, "search", id="search in one word"),
    pytest.param(40, 130, 1, 38, 4, "search", id="search, one dropped, RAM in blocks"),
]


@pytest.mark.parametrize("tokens,channels,simd,k,heads,ranking", CASES)
def test_equals_golden_model_at_its_interval(tokens, channels, simd, k, heads, ranking):
    shape = attrs(tokens, channels, simd, k, heads, ranking)
    op, _ = build_node("VitTokenDrop", shape)
    assert bool(op.search_lanes()) == (ranking == "search")
    streams = [codes(5, tokens, channels), attention_scores(5, tokens, heads)]
    check_op("VitTokenDrop", shape, streams, frames_overlap=5, patterns=PATTERNS + LATE_SCORES)
    assert op.get_exp_cycles() == max(tokens * channels // simd, tokens + (simd == channels))


@pytest.mark.parametrize("ranking", ["insert", "search"])
@pytest.mark.parametrize("k", [1, 4, 7, 9])
def test_ties_of_every_kind(k, ranking):
    """All zero, all equal, the highest score a head can give, few levels, S_0 large: lower index stays."""
    n, rng = 11, np.random.default_rng(k)
    s = rng.integers(0, 3, (9, n, 1)) * 7
    s[0], s[1] = 0, 11915
    s[2], s[2, 6] = 0, 131072
    s[3, :, 0] = np.arange(n) // 3
    s[4, :, 0] = np.arange(n)[::-1] // 3
    s[5, 0] = 131072
    shape = attrs(n, 96, 1 if ranking == "search" else 8, k, 2, ranking)
    streams = [codes(9, n, 96), s]
    check_op("VitTokenDrop", shape, streams, patterns=LATE_SCORES[:2], interval=False)


@pytest.mark.parametrize("heads", [1, 3])
def test_fused_token_saturates(heads):
    """Dropped tokens hold one end of the range and all of the scores: +-32767 past rounding, or -32768."""
    n, k, total = 6, 1, heads << 16
    x = np.full((3, n, 8), -32768)
    x[1] = 32767
    x[2, :, ::2] = 32767
    s = np.full((3, n, 1), total // (n - 1))
    built = build_op("VitTokenDrop", attrs(n, 8, 2, k, heads))
    assert_ok(built.run([x, s]), built, [x, s], Stimulus())
    s[:] = 0
    s[:, 1], s[:, 2] = total // 2, total // 2
    assert_ok(built.run([x, s]), built, [x, s], Stimulus())


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


@pytest.mark.parametrize("simd,k", [(4, 8), (4, 15), (12, 15), (24, 12), (48, 15), (1, 3), (2, 5), (2, 1)])
def test_interval_does_not_depend_on_the_kept_tokens(simd, k):
    """Nor does the FIFO that output_fifo_tokens() asks for ever overflow before a slower consumer."""
    n, d, frames = 17, 48, 24
    built = build_op("VitTokenDrop", attrs(n, d, simd, k))
    op, x = built.op, codes(24, n, d)
    beats, out_beats = n * d // simd, op.tokens_out * d // simd
    found = {}
    for name, s in _images(n, k, frames).items():
        result = built.run([x, s])
        assert_ok(result, built, [x, s], Stimulus())
        found[name] = result.intervals("out0_V", out_beats)[2:].mean()
        accepted = result.in_cycles["in0_V"][beats - 1 :: beats]
        pace = (accepted[-1] - accepted[3]) / (len(accepted) - 4)
        assert pace == pytest.approx(op.get_exp_cycles(), rel=0.01), f"{name}: {pace} cycles a frame"
        if simd < d:
            fill = _fill(result.out_cycles["out0_V"], beats / out_beats)
            assert fill <= op.output_fifo_tokens() * d // simd, f"{name}: {fill} beats wait"
    for name in ("first", "last", "alternating"):
        assert found[name] == pytest.approx(op.get_exp_cycles(), rel=0.01), name


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


@pytest.mark.parametrize("ranking", ["insert", "search"])
def test_ranking_takes_rank_cycles(ranking):
    """From the last score, given last of all, to the row that waits for it."""
    n, d = 17, 48
    built = build_op("VitTokenDrop", attrs(n, d, 1, 8, ranking=ranking))
    x, s = codes(1, n, d), attention_scores(1, n, 2)
    result = built.run([x, s], Stimulus(seed=6, pause={"in1_V": 0.9}, burst=40))
    assert_ok(result, built, [x, s], Stimulus())
    waited = result.in_cycles["in0_V"][d + 6] - result.in_cycles["in1_V"][-1]
    assert 0 <= waited - built.op.rank_cycles() <= 12


def test_ranking_follows_the_time_it_can_hide_in():
    wide, narrow, small = (build_node("VitTokenDrop", attrs(*a, 6))[0] for a in
                           ((198, 384, 32, 99), (198, 384, 1, 99), (17, 48, 4, 8)))
    assert wide.search_lanes() == 0 and small.search_lanes() == 0 and wide.rank_cycles() == 2
    assert narrow.search_lanes() == 4
    assert narrow.rank_cycles() <= 0.01 * narrow.get_exp_cycles() + 2 * narrow.beats
    assert narrow.lut_estimation(PART) < 0.2 * build_node(
        "VitTokenDrop", attrs(198, 384, 1, 99, 6, "insert"))[0].lut_estimation(PART)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"k": 0}, "k 0 tokens to keep of 9: use 1 to 8"),
        ({"k": 9}, "k 9 tokens"),
        ({"mult": 0}, "mult 0 must be"),
        ({"scoreDataType": "INT18"}, "scores are INT18"),
        ({"scoreDataType": "UINT32"}, "at most 26 bits"),
        ({"inputDataType": "INT8"}, "only INT16"),
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
def test_accumulator_holds_every_sum(heads):
    """32 + ceil(log2 H) bits, from the contract, against the largest sum |S X| can reach."""
    op, _ = build_node("VitTokenDrop", attrs(9, 8, 1, 3, heads))
    assert op.heads == heads
    assert (heads << 16) * 32768 <= 1 << (op.acc_bits - 1) < 2 * (heads << 16) * 32768
    assert op.in_streams()[1].dtype.max() >= heads << 16


@pytest.mark.parametrize(
    "shape",
    [(17, 48, 4, 8, 2), (33, 64, 2, 28, 3), (60, 96, 1, 30, 6), (12, 24, 8, 10, 1), (12, 24, 4, 11, 3)],
    ids=["insert", "dropped ranked", "search", "one dropped", "none dropped"],
)
def test_estimates_agree_with_yosys(shape, tmp_path):
    """DSP and block RAM exact, LUT within 20 %."""
    op, model = build_node("VitTokenDrop", attrs(*shape))
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    op.code_generation_ipgen(model, PART, 5.0)
    found, estimate = synth_node(op.get_rtl_file_list(abspath=True), "dut"), op.node_res_estimation(PART)
    text = f"{shape}: estimate {dict(estimate)}, Yosys {found}"
    exact = (estimate["DSP"], estimate["BRAM_18K"] / 2, estimate["URAM"])
    assert exact == (found.DSP, found.BRAM36, found.URAM), text
    assert abs(estimate["LUT"] - found.LUT) <= 0.2 * found.LUT, text
