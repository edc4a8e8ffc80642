"""VitLayerNorm, also as an RMSNorm: the integer algorithm to the bit, its interval, its limits and its resources."""

import numpy as np
import pytest

from finn_vitprune import numerics
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus
from finn_vitprune.synth.yosys import synth_node
from tests.rtl.benches.helper import PART, assert_ok, build_node, build_op, check_op
from tests.rtl.benches.shared_helper import Use, check_shared, generate_shared
from tests.sampling import sampled, spread


def attrs(tokens, channels, simd, out="INT8", eps=1000, inverse=None, roots=3, centred=1):
    """Node attributes for an output scale of 1 / ``inverse``; ``centred`` 0: of an RMSNorm."""
    mult, shift = numerics.snap_ratio(inverse or (24.0 if out == "INT8" else 2.5))
    common = {
        "tokens": tokens,
        "channels": channels,
        "SIMD": simd,
        "roots": roots,
        "eps": eps,
        "mult": int(mult),
        "shift": shift,
        "outputDataType": out,
    }
    return common if centred else common | {"centred": 0}


def tokens_of_all_spreads(frames, tokens, channels, seed=1):
    """Codes whose standard deviation runs over four decades, so that every exponent e occurs."""
    rng = np.random.default_rng(seed)
    spread = 10 ** rng.uniform(-1, 4.3, (frames, tokens, 1))
    mean = rng.normal(0, 1, (frames, tokens, 1)) * spread / 2
    x = rng.normal(0, 1, (frames, tokens, channels)) * spread + mean
    return np.clip(np.rint(x), -32768, 32767).astype(np.int64)


CASES = [
    # tokens, channels, SIMD, output, roots
    pytest.param(17, 48, 4, "INT8", 3, id="three roots in turn"),
    pytest.param(11, 54, 2, "INT8", 2, id="two roots in turn"),
    pytest.param(11, 40, 2, "INT4", 2, id="20 beats, two roots"),
    pytest.param(17, 26, 2, "INT8", 3, id="13 beats, three roots"),
    pytest.param(11, 48, 2, "INT8", 1, id="24 beats wait for one root"),
    pytest.param(11, 48, 4, "INT4", 2, id="12 beats wait for two roots"),
    pytest.param(11, 24, 24, "INT8", 1, id="a token a beat waits for one root"),
    pytest.param(5, 48, 1, "INT8", 3, id="beats are the bottleneck"),
    pytest.param(6, 36, 1, "INT8", 1, id="a token and its root take 36 cycles"),
    pytest.param(6, 74, 2, "INT4", 1, id="37 beats"),
    pytest.param(6, 40, 1, "INT8", 1, id="40 beats"),
    pytest.param(4, 48, 3, "INT4", 3, id="adder tree of three"),
    pytest.param(7, 24, 24, "INT4", 3, id="a token a beat"),
    pytest.param(5, 384, 8, "INT8", 1, id="DeiT-Small"),
    pytest.param(6, 66, 33, "INT8", 3, id="two groups of lanes"),
    pytest.param(9, 65, 65, "INT4", 3, id="three groups and a token a beat"),
    pytest.param(9, 2, 1, "INT8", 3, id="two channels"),
]


def inputs(tokens, channels, simd, out, frames=3, **given):
    """Op type, attributes and tokens of every spread; ``given``: more of :func:`attrs`."""
    shape = attrs(tokens, channels, simd, out, **given)
    return "VitLayerNorm", shape, [tokens_of_all_spreads(frames, tokens, channels)]


WIDEST = 1664


@pytest.mark.parametrize("tokens,channels,simd,out,roots", [*spread(CASES, 6, first=2), (4, WIDEST, 52, "INT8", 1)])
def test_equals_golden_model_at_its_interval(tokens, channels, simd, out, roots):
    checked = check_op(*inputs(tokens, channels, simd, out, roots=roots))
    op = checked.built.op
    beats, root = channels // simd, 36 // roots
    assert op.get_exp_cycles() == tokens * max(beats, root)
    [times] = op.pass_times([TokenTimes.steady(tokens, beats)])
    assert checked.latency == times.last[-1] + 1


RMS_CASES = [
    pytest.param(17, 48, 4, "INT8", 3, id="three roots in turn"),
    pytest.param(11, 24, 24, "INT8", 1, id="a token a beat waits for one root"),
    pytest.param(9, 65, 65, "INT4", 3, id="three groups and a token a beat"),
    pytest.param(5, 48, 1, "INT8", 3, id="beats are the bottleneck"),
    pytest.param(9, 2, 1, "INT8", 3, id="two channels"),
]


@pytest.mark.parametrize("tokens,channels,simd,out,roots", spread(RMS_CASES, 3, first=1))
def test_an_rmsnorm_takes_as_long_and_equals_its_golden_model(tokens, channels, simd, out, roots):
    """Its results are the mean's distance from the LayerNorm's, so that one that takes it all the same would show."""
    op_type, shape, streams = inputs(tokens, channels, simd, out, roots=roots, centred=0)
    checked = check_op(op_type, shape, streams)
    op = checked.built.op
    assert op.get_exp_cycles() == tokens * max(channels // simd, 36 // roots)
    [times] = op.pass_times([TokenTimes.steady(tokens, channels // simd)])
    assert checked.latency == times.last[-1] + 1
    [found] = checked.built.expected(streams)
    x = streams[0].astype(float)
    real = x / np.sqrt((x**2).mean(-1, keepdims=True) + shape["eps"] / channels**2) * (shape["mult"] * 2.0 ** -shape["shift"])
    assert np.abs(found - np.clip(real, *((-8, 7) if out == "INT4" else (-128, 127)))).max() < 0.5 + 1e-3


SCALES = {"saturates": (1, 60000.0), "largest eps": ((1 << 51) - 1, 24.0), "largest shift": (1, 2.0**-13), "small outputs": (1 << 20, 0.5)}


def scaled_inputs(eps, inverse):
    """Op type, attributes of these scales, and tokens."""
    return inputs(4, 16, 4, "INT8", eps=eps, inverse=inverse)


@pytest.mark.parametrize("name", spread(SCALES, 4))
def test_every_eps_and_output_scale(name):
    check_op(*scaled_inputs(*SCALES[name]))


def extreme_inputs(inverse=None, d=1024, eps=1, centred=1):
    """All equal (variance 0), one peak, half at each end: the widest S1, S2, v and the longest shifts."""
    x = np.zeros((1, 8, d), np.int64)
    x[0, 0], x[0, 1] = -32768, 32767
    x[0, 2, 0], x[0, 3, -1] = 32767, -32768
    x[0, 4, : d // 2], x[0, 4, d // 2 :] = -32768, 32767
    x[0, 5] = 32767
    x[0, 5, 7] = -32768
    x[0, 6, 3] = 1
    x[0, 7] = np.arange(d) % 2
    return "VitLayerNorm", attrs(8, d, 32, eps=eps, inverse=inverse, centred=centred), [x]


EXTREMES = {
    "as a rule": (), "the largest shift of the largest exponent": (2.0**-13,), "the widest token": (None, WIDEST),
    "the widest token, largest eps and shift": (2.0**-13, WIDEST, numerics.layernorm_largest_eps(WIDEST)),
    "the widest token of an RMSNorm, largest eps and shift": (2.0**-13, WIDEST, numerics.layernorm_largest_eps(WIDEST, False), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_tokens(name):
    op_type, shape, streams = extreme_inputs(*EXTREMES[name])
    built = build_op(op_type, shape)
    assert_ok(built.run(streams), built, streams, Stimulus())


def tie_inputs(odd):
    """Codes (1, -1): D X - S1 = +-2, v = 4 + eps, with eps and mult searched for y = +-(k + 1/2) exactly."""
    shift = 9
    mult = np.arange(1 << 16, 1 << 17)
    for eps in range(1, 200):
        r, e = numerics.reciprocal_sqrt(np.array(4 + eps))
        cut = 8 + int(e) + shift
        scaled = 2 * ((int(r) * mult) >> 16)
        below = scaled >> cut
        ties = np.flatnonzero((scaled % (1 << cut) == 1 << (cut - 1)) & (below % 2 == odd) & (below < 120))
        if len(ties):
            break
    shape = {"tokens": 2, "channels": 2, "SIMD": 1, "eps": eps, "mult": int(mult[ties[0]]), "shift": shift}
    return "VitLayerNorm", shape, [np.array([[[1, -1], [-1, 1]]])]


@pytest.mark.parametrize("odd", [0, 1], ids=["even below", "odd below"])
def test_rounds_half_to_even(odd):
    op_type, shape, streams = tie_inputs(odd)
    built = build_op(op_type, shape)
    [[[k, minus_k], [_, _]]] = expected = built.expected(streams)[0].tolist()
    assert expected == [[[k, -k], [-k, k]]] and k % 2 == 0 and minus_k == -k
    assert_ok(built.run(streams), built, streams, Stimulus())


def near_tie_inputs(mult=37, shift=0):
    """Tokens with an element that a single bit, each of those under the rounding bit once, lifts above a tie to even."""
    eps, d = 1, 16
    rng = np.random.default_rng(1)
    x = np.rint(rng.normal(size=(100_000, d)) * rng.choice([2, 4, 8, 16], (100_000, 1))).astype(int)
    n = d * x - x.sum(-1, keepdims=True)
    r, e = numerics.reciprocal_sqrt((n * x).sum(-1, keepdims=True) + eps)
    product, half = n * (r * mult >> 16), 1 << 7 + e + shift
    over = np.where(product & 2 * half, 0, product % (2 * half) - half)
    tokens = []
    for exponent in range(5, 9):
        for bit in range(7 + exponent + shift):
            tokens += np.flatnonzero(np.any((over == 1 << bit) & (e == exponent), axis=-1))[:1].tolist()
    assert len(tokens) >= 45, "nearly all bits of four exponents"
    shape = {"tokens": len(tokens), "channels": d, "SIMD": 4, "eps": eps, "mult": mult, "shift": shift}
    return "VitLayerNorm", shape, [x[None, tokens]]


def test_a_single_bit_above_a_tie_rounds_up():
    check_op(*near_tie_inputs(), patterns=())


def highest_exponent_inputs():
    """1 / sqrt(v) = 3/4 2**-25 and codes whose product with it is a tie and a half: only the bit below the tie tells."""
    v = (1 << 54) // 9 + np.arange(-(1 << 27), 1 << 27, 1 << 20)
    r, e = numerics.reciprocal_sqrt(v)
    eps = int(v[np.flatnonzero(r == 3 << 22)[0]]) - 512**2
    shape = {"tokens": 2, "channels": 2, "SIMD": 1, "eps": eps, "mult": 1 << 16, "shift": 0}
    assert set(e.tolist()) == {25} and eps < 1 << 51
    return "VitLayerNorm", shape, [np.array([[[256, -256], [-256, 256]]])]


def test_the_highest_exponent_rounds_too():
    op_type, shape, streams = highest_exponent_inputs()
    built = build_op(op_type, shape)
    assert built.expected(streams)[0].tolist() == [[[1, -1], [-1, 1]]]
    assert_ok(built.run(streams), built, streams, Stimulus())


SHARED = [
    # channels, SIMD, output; tokens, eps and 1 / output scale of each encoder
    pytest.param(48, 4, "INT8", [(17, 1000, 24.0), (9, 70000, 11.0), (1, 1, 50.0), (2, 9, 24.0)], id="three roots in turn"),
    pytest.param(48, 1, "INT4", [(5, 10, 2.5), (1, 99, 2.5), (4, 1, 2.5), (2, 1, 2.5), (3, 10, 2.5)], id="one shift, five"),
    pytest.param(16, 4, "INT8", [(4, 1, 60000.0), (6, (1 << 51) - 1, 24.0), (5, 1, 2.0**-12)], id="all shifts"),
    pytest.param(24, 24, "INT8", [(7, 50, 20.0), (3, 1, 90.0)], id="a token a beat"),
    pytest.param(66, 33, "INT8", [(6, 50, 20.0), (1, 3, 2.0), (7, 9, 700.0)], id="two groups of lanes"),
    pytest.param(384, 8, "INT8", [(5, 1000, 24.0), (2, 900, 8.0)], id="DeiT-Small"),
]


@pytest.mark.parametrize("channels, simd, out, encoders", spread(SHARED, 4))
def test_encoders_share_a_unit(channels, simd, out, encoders):
    check_shared(*shared(channels, simd, out, encoders))


def test_forty_encoders_share_a_unit():
    check_shared(*shared(8, 4, "INT8", [(1 + i % 3, 1 + 97 * i, 3.0 + i) for i in range(40)]), frames=48)


def shared(channels, simd, out, encoders, centred=1):
    """Op type, and what each encoder needs."""
    return "VitLayerNorm", [
        Use(
            attrs(tokens, channels, simd, out, eps, inverse, centred=centred),
            (),
            lambda seed, tokens=tokens: (tokens_of_all_spreads(1, tokens, channels, seed),),
        )
        for tokens, eps, inverse in encoders
    ]


def test_encoders_that_share_a_unit_round_a_single_bit_above_a_tie_up():
    uses = []
    for mult, shift in ((37, 0), (37, 2), (75, 1)):
        _, shape, streams = near_tie_inputs(mult, shift)
        uses.append(Use(shape, (), lambda _, streams=streams: tuple(streams)))
    check_shared("VitLayerNorm", uses, patterns=())


HEADS = [
    # tokens, channels, SIMD, output, roots; rows of a token, of which are passed, LayerNorm, 1 / output scale
    pytest.param(7, 48, 4, "INT8", 3, 6, 3, 1, 24.0, id="three heads and their values"),
    pytest.param(5, 32, 8, "INT4", 3, 4, 2, 0, 2.5, id="an RMSNorm, a head a beat, 4 bits"),
    pytest.param(6, 24, 8, "INT8", 2, 3, 0, 1, 24.0, id="heads without values"),
    pytest.param(5, 36, 1, "INT8", 1, 3, 1, 1, 24.0, id="one value for two heads"),
    pytest.param(4, 8, 2, "INT4", 3, 2, 1, 0, 20000.0, id="a shift below the one of passed rows"),
]


def head_inputs(tokens, channels, simd, out, roots, rows, passed, centred, inverse, frames=3):
    """Op type, attributes and tokens of heads, of which the last ones of each token are passed; these have every code of a tie."""
    shape = attrs(tokens, channels, simd, out, 1000, inverse, roots, centred) | {"rows": rows, "passed": passed}
    x = tokens_of_all_spreads(frames, tokens * rows, channels // rows).reshape(frames, tokens, rows, -1)
    if passed:
        values = x[:, :, rows - passed :]
        step = 1 << (8 if out == "INT8" else 12)
        values[:] = np.random.default_rng(5).integers(-32768, 32768, values.shape) // (step // 4) * (step // 4)
    return "VitLayerNorm", shape, [x.reshape(frames, tokens, channels)]


@pytest.mark.parametrize("tokens, channels, simd, out, roots, rows, passed, centred, inverse", spread(HEADS, 4))
def test_heads_have_norms_of_their_own_and_values_pass(tokens, channels, simd, out, roots, rows, passed, centred, inverse):
    """By hand: every head as a token of its own, values rounded to the upper bits."""
    op_type, shape, streams = head_inputs(tokens, channels, simd, out, roots, rows, passed, centred, inverse)
    checked = check_op(op_type, shape, streams)
    [found] = checked.built.expected(streams)
    split, made = (a.reshape(*a.shape[:2], rows, -1) for a in (streams[0], found))
    alone, _ = build_node("VitLayerNorm", {**shape, "tokens": tokens * rows, "channels": channels // rows, "rows": 1, "passed": 0})
    [normed] = alone.compute(split.reshape(len(found), tokens * rows, -1))
    assert np.array_equal(made[:, :, : rows - passed], normed.reshape(made.shape)[:, :, : rows - passed])
    bits = int(out[3:])
    values = np.clip(np.rint(split[:, :, rows - passed :] / 2.0 ** (16 - bits)), -(1 << bits - 1), (1 << bits - 1) - 1)
    assert np.array_equal(made[:, :, rows - passed :], values)
    op, beats = checked.built.op, channels // rows // simd
    assert op.get_exp_cycles() == tokens * rows * max(beats, 36 // roots)
    assert set(op.widths) == {d for d in range(1, channels) if channels // rows % d == 0}
    [times] = op.pass_times([TokenTimes.steady(tokens, channels // simd)])
    assert checked.latency == times.last[-1] + 1


@pytest.mark.whole
def test_estimates_of_heads_agree_with_yosys(tmp_path):
    check_estimates("VitLayerNorm", head_inputs(30, 64, 4, "INT8", 2, 4, 2, 1, 24.0)[1], tmp_path)


RMS_SHARED = [(48, 4, "INT8", [(17, 1000, 24.0), (9, 70000, 11.0), (1, 1, 50.0)]), (16, 4, "INT8", [(4, 1, 60000.0), (5, 1, 2.0**-12)])]


@pytest.mark.parametrize("channels, simd, out, encoders", RMS_SHARED)
def test_encoders_share_an_rmsnorm(channels, simd, out, encoders):
    check_shared(*shared(channels, simd, out, encoders, centred=0))


HEADS_SHARED = [
    # head, SIMD, output, LayerNorm; of each encoder tokens, heads, of which are passed, eps, 1 / output scale
    pytest.param(8, 4, "INT8", 1, [(5, 6, 3, 1000, 24.0), (1, 2, 1, 70000, 11.0), (3, 4, 2, 9, 50.0)], 0, id="keys and values"),
    pytest.param(8, 8, "INT4", 0, [(4, 3, 1, 10, 2.5), (7, 2, 1, 99, 9.0)], 0, id="RMSNorms, a head a beat, 4 bits"),
    pytest.param(8, 2, "INT8", 1, [(5, 3, 0, 1000, 24.0), (1, 2, 0, 9, 11.0)], 0, id="queries"),
    pytest.param(4, 2, "INT8", 0, [(5, 4, 2, 1000, 24.0), (1, 2, 1, 9, 11.0)], 1, id="loaded"),
]


def shared_heads(head, simd, out, centred, encoders, loaded):
    """Op type, and what each encoder needs."""
    return "VitLayerNorm", [
        Use(
            attrs(tokens, head * rows, simd, out, eps, inverse, 3, centred) | {"rows": rows, "passed": passed, "loaded": loaded},
            (),
            lambda seed, tokens=tokens, rows=rows: (tokens_of_all_spreads(1, tokens * rows, head, seed).reshape(1, tokens, -1),),
        )
        for tokens, rows, passed, eps, inverse in encoders
    ]


@pytest.mark.parametrize("head, simd, out, centred, encoders, loaded", spread(HEADS_SHARED, 2))
def test_encoders_share_norms_of_heads(head, simd, out, centred, encoders, loaded):
    check_shared(*shared_heads(head, simd, out, centred, encoders, loaded))


@pytest.mark.parametrize(
    "encoders, message",
    [
        ([(5, 3, 1, 1000, 24.0), (5, 3, 0, 1000, 24.0)], "rows of 8 channels, 0 of 3 passed, beside 8 channels: encoders need alike rows"),
        ([(5, 3, 1, 1000, 24.0), (5, 3, 3, 1000, 24.0)], "3 rows, 3 of them passed"),
    ],
)
def test_heads_that_encoders_cannot_share(encoders, message):
    with pytest.raises(UserError, match=message):
        generate_shared(*shared_heads(8, 4, "INT8", 1, encoders, 0))


def check_slow_sink(built):
    """A sink that is stalled nearly always loses nothing."""
    tokens, channels = (built.op.get_nodeattr(name) for name in ("tokens", "channels"))
    x = tokens_of_all_spreads(4, tokens, channels, seed=7)
    for stimulus in (Stimulus(seed=3, stall=0.9, burst=40), Stimulus(seed=4, stall=0.97)):
        assert_ok(built.run([x], stimulus), built, [x], stimulus)


def test_a_slow_sink_loses_nothing():
    check_slow_sink(build_op("VitLayerNorm", attrs(6, 48, 12)))


def test_all_that_is_inside_is_counted():
    built = build_op("VitLayerNorm", attrs(9, 48, 1))
    result = built.run([tokens_of_all_spreads(2, 9, 48)], Stimulus(stall=1.0))
    assert len(result.in_cycles["in0_V"]) <= built.op.held_tokens() * 48


@pytest.mark.parametrize(
    "change,message",
    [
        ({"channels": 1665}, "1665 channels: use 2 to 1664"),
        ({"channels": 1664, "eps": numerics.layernorm_largest_eps(1664) + 1}, "eps 1530610916356096 must be 1 to 1530610916356095"),
        ({"eps": 0}, "eps 0 must be"),
        ({"channels": 1664, "centred": 0, "eps": numerics.layernorm_largest_eps(1664, False) + 1}, "eps 1530520185864192 must be 1 to"),
        ({"channels": 1665, "centred": 0}, "RMSNorm over 1665 channels"),
        ({"rows": 3}, "3 rows, 0 of them passed, in 8 channels"),
        ({"rows": 4, "passed": 4}, "4 rows, 4 of them passed"),
        ({"rows": 4, "SIMD": 4}, "SIMD 4 does not divide the 2 channels of a row"),
        ({"mult": 1 << 17}, "mult 131072"),
        ({"shift": 30}, "shift 30 0 to 29"),
        ({"roots": 0}, "roots 0: use 1 to 3"),
        ({"roots": 4}, "roots 4: use 1 to 3"),
        ({"inputDataType": "INT8"}, "only INT16"),
        ({"outputDataType": "INT16"}, "use INT4 or INT8"),
    ],
)
def test_what_the_unit_cannot_do_is_named(change, message):
    with pytest.raises(UserError, match=message):
        build_node("VitLayerNorm", attrs(3, 8, 1) | change)[0].rtl_parameters()


@pytest.mark.parametrize("seed", sampled(range(3), 1))
def test_estimates_agree_with_yosys(seed, tmp_path):
    rng = np.random.default_rng(seed)
    simd = (1, 2, 4)[seed]
    channels, out = simd * int(rng.choice([12, 16, 48, 96])), ("INT8", "INT4")[seed % 2]
    shape = attrs(int(rng.integers(2, 99)), channels, simd, out, roots=1 + seed)
    check_estimates("VitLayerNorm", shape, tmp_path)


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(3))
def test_estimates_of_an_rmsnorm_agree_with_yosys(seed, tmp_path):
    rng = np.random.default_rng(seed)
    simd, roots, out = (1, 2, 8)[seed], (1, 2, 1)[seed], ("INT8", "INT4")[seed % 2]
    channels = simd * int(rng.choice([12, 16, 48, 96]))
    check_estimates("VitLayerNorm", attrs(int(rng.integers(2, 99)), channels, simd, out, roots=roots, centred=0), tmp_path)


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(3))
def test_estimates_of_a_shared_unit_agree_with_yosys(seed):
    rng = np.random.default_rng(seed)
    simd, out = (2, 1, 4)[seed], ("INT8", "INT4")[seed % 2]
    channels, least = simd * int(rng.choice([12, 16, 48, 96])), rng.uniform(1, 8)
    uses = [
        Use(attrs(int(rng.integers(1, 99)), channels, simd, out, eps, least * 2 ** rng.uniform(0, 2 + 2 * seed), 1 + seed))
        for eps in rng.integers(1, 1 << 40, 2 + 3 * seed).tolist()
    ]
    op, _, _folder = generate_shared("VitLayerNorm", uses)
    check_estimate(op, str([use.attrs for use in uses]))


def check_estimates(op_type, shape, folder):
    """DSP and block RAM exact, LUT within 20 % of Yosys."""
    op, model = build_node(op_type, shape)
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.code_generation_ipgen(model, PART, 5.0)
    check_estimate(op, str(shape))


def check_estimate(op, what):
    """:func:`check_estimates` of an op with HDL."""
    found, estimate = synth_node(op.get_rtl_file_list(abspath=True), op.onnx_node.name), op.node_res_estimation(PART)
    text = f"{op.onnx_node.op_type} {what}: estimate {dict(estimate)}, Yosys {found}"
    exact = (estimate["DSP"], estimate["BRAM_18K"] / 2, estimate["URAM"])
    assert exact == (found.DSP, found.BRAM36, found.URAM), text
    assert abs(estimate["LUT"] - found.LUT) <= 0.2 * found.LUT, text
