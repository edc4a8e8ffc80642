"""VitLayerNorm: the integer algorithm to the bit, its interval, its limits and its resources."""

import numpy as np
import pytest
from helper import PART, assert_ok, build_node, build_op, check_op, measure

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus
from finn_vitprune.synth.yosys import synth_node


def attrs(tokens, channels, simd, out="INT8", eps=1000, inverse=None):
    """Node attributes for an output scale of 1 / ``inverse``."""
    mult, shift = numerics.snap_ratio(inverse or (24.0 if out == "INT8" else 2.5))
    return {"tokens": tokens, "channels": channels, "SIMD": simd, "eps": eps, "mult": int(mult),
            "shift": shift, "outputDataType": out}


def tokens_of_all_spreads(frames, tokens, channels, seed=1):
    """Codes whose standard deviation runs over four decades, so that every exponent e occurs."""
    rng = np.random.default_rng(seed)
    spread = 10 ** rng.uniform(-1, 4.3, (frames, tokens, 1))
    mean = rng.normal(0, 1, (frames, tokens, 1)) * spread / 2
    x = rng.normal(0, 1, (frames, tokens, channels)) * spread + mean
    return np.clip(np.rint(x), -32768, 32767).astype(np.int64)


CASES = [
    # tokens, channels, SIMD, output
    pytest.param(17, 48, 4, "INT8", id="square root is the bottleneck"),
    pytest.param(5, 48, 1, "INT8", id="beats are the bottleneck"),
    pytest.param(6, 36, 1, "INT8", id="both take 36 cycles"),
    pytest.param(6, 74, 2, "INT4", id="37 beats"),
    pytest.param(4, 48, 3, "INT4", id="adder tree of three"),
    pytest.param(7, 24, 24, "INT4", id="a token a beat"),
    pytest.param(5, 384, 8, "INT8", id="DeiT-Small"),
    pytest.param(9, 2, 1, "INT8", id="two channels"),
]


@pytest.mark.parametrize("tokens,channels,simd,out", CASES)
def test_equals_golden_model_at_its_interval(tokens, channels, simd, out):
    checked = check_op(
        "VitLayerNorm", attrs(tokens, channels, simd, out), [tokens_of_all_spreads(3, tokens, channels)]
    )
    assert checked.built.op.get_exp_cycles() == tokens * max(channels // simd, 36)


@pytest.mark.parametrize(
    "eps,inverse", [(1, 60000.0), ((1 << 51) - 1, 24.0), (1, 2.0**-12), (1 << 20, 0.5)],
    ids=["saturates", "largest eps", "largest shift", "small outputs"],
)
def test_every_eps_and_output_scale(eps, inverse):
    check_op("VitLayerNorm", attrs(4, 16, 4, eps=eps, inverse=inverse), [tokens_of_all_spreads(3, 4, 16)])


def test_extreme_tokens():
    """All equal (variance 0), one peak, half at each end: the widest S1, S2, v and the longest shifts."""
    d = 1024
    x = np.zeros((1, 8, d), np.int64)
    x[0, 0], x[0, 1] = -32768, 32767
    x[0, 2, 0], x[0, 3, -1] = 32767, -32768
    x[0, 4, : d // 2], x[0, 4, d // 2 :] = -32768, 32767
    x[0, 5] = 32767
    x[0, 5, 7] = -32768
    x[0, 6, 3] = 1
    x[0, 7] = np.arange(d) % 2
    built = build_op("VitLayerNorm", attrs(8, d, 32, eps=1))
    assert_ok(built.run([x]), built, [x], Stimulus())


@pytest.mark.parametrize("odd", [0, 1], ids=["even below", "odd below"])
def test_rounds_half_to_even(odd):
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
    k = int(below[ties[0]]) + odd
    shape = {"tokens": 2, "channels": 2, "SIMD": 1, "eps": eps, "mult": int(mult[ties[0]]), "shift": shift}
    built = build_op("VitLayerNorm", shape)
    x = np.array([[[1, -1], [-1, 1]]])
    assert built.expected([x])[0].tolist() == [[[k, -k], [-k, k]]]
    assert_ok(built.run([x]), built, [x], Stimulus())


def test_a_slow_sink_loses_nothing():
    built = build_op("VitLayerNorm", attrs(6, 48, 12))
    x = tokens_of_all_spreads(4, 6, 48, seed=7)
    for stimulus in (Stimulus(seed=3, stall=0.9, burst=40), Stimulus(seed=4, stall=0.97)):
        assert_ok(built.run([x], stimulus), built, [x], stimulus)


def test_latency_is_three_tokens_at_most():
    tokens, beats = 9, 48
    built = build_op("VitLayerNorm", attrs(tokens, 48, 1))
    _, latency = measure(built, [tokens_of_all_spreads(1, tokens, 48)])
    assert latency < (tokens + 2) * beats + 40
    assert built.op.held_tokens() * beats >= latency - tokens * beats


@pytest.mark.parametrize(
    "change,message",
    [
        ({"channels": 2048}, "2048 channels: use 2 to 1024"),
        ({"eps": 0}, "eps 0 must be"),
        ({"mult": 1 << 17}, "mult 131072"),
        ({"shift": 30}, "shift 30 0 to 29"),
        ({"inputDataType": "INT8"}, "only INT16"),
        ({"outputDataType": "INT16"}, "use INT4 or INT8"),
    ],
)
def test_what_the_unit_cannot_do_is_named(change, message):
    with pytest.raises(UserError, match=message):
        build_node("VitLayerNorm", attrs(3, 8, 1) | change)[0].rtl_parameters()


@pytest.mark.parametrize("seed", range(3))
def test_estimates_agree_with_yosys(seed, tmp_path):
    rng = np.random.default_rng(seed)
    simd = (1, 2, 4)[seed]
    channels, out = simd * int(rng.choice([12, 16, 48, 96])), ("INT8", "INT4")[seed % 2]
    shape = attrs(int(rng.integers(2, 99)), channels, simd, out)
    check_estimates("VitLayerNorm", shape, tmp_path)


def check_estimates(op_type, shape, folder):
    """DSP and block RAM exact, LUT within 20 % of Yosys."""
    op, model = build_node(op_type, shape)
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.code_generation_ipgen(model, PART, 5.0)
    found, estimate = synth_node(op.get_rtl_file_list(abspath=True), "dut"), op.node_res_estimation(PART)
    text = f"{op_type} {shape}: estimate {dict(estimate)}, Yosys {found}"
    exact = (estimate["DSP"], estimate["BRAM_18K"] / 2, estimate["URAM"])
    assert exact == (found.DSP, found.BRAM36, found.URAM), text
    assert abs(estimate["LUT"] - found.LUT) <= 0.2 * found.LUT, text
