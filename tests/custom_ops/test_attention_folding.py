"""PrunedAttention's estimates against Yosys (DSP, BRAM, URAM exact, LUT within 20 %), and its folding.

The shapes are drawn; ``VITPRUNE_ESTIMATE_SEED`` draws others.
"""

import os
from dataclasses import replace

import numpy as np
import pytest

from finn_vitprune.custom_ops.attention.cost import dsp
from finn_vitprune.custom_ops.attention.folding import all_folds
from finn_vitprune.numerics import exp_table
from finn_vitprune.synth.yosys import synth_node
from tests.rtl.benches.helper import PART, build_node
from tests.rtl.benches.shared_helper import Use, generate_shared
from tests.sampling import sampled

SEED = int(os.environ.get("VITPRUNE_ESTIMATE_SEED", "1"))


def drawn(seed):
    """Attributes of a small unit, of any fold, width and memory style."""
    rng = np.random.default_rng(seed)
    simd = int(rng.choice([1, 2, 3, 4, 8]))
    pe = int(rng.integers(1, 5 if simd == 8 else 7))
    tokens = int(rng.integers(max(pe, 9), 120))
    bits = int(rng.choice([4, 6, 8, 8]))
    return {
        "tokens": tokens, "queries": int(rng.choice([1, tokens])), "heads": int(rng.integers(1, 5)),
        "head_dim": simd * int(rng.choice([1, 2, 4, 8])), "SIMD": simd, "PE": pe,
        "scores": int(rng.integers(0, 2)), "logit_mult": 100001, "logit_shift": 27,
        "logit_bits": int(rng.choice([bits, 8])), "recip_num": 255 << 24, "recip_shift": 30,
        "inputDataType": f"INT{bits}", "outputDataType": "INT8",
        "ram_style": str(rng.choice(["auto", "auto", "block", "distributed", "ultra"])),
    }  # fmt: skip


def check_estimate(op, text):
    """Of an op with HDL, against Yosys."""
    found = synth_node(op.get_rtl_file_list(abspath=True), "dut")
    estimate = op.node_res_estimation(PART)
    text = f"{text}: estimate {dict(estimate)}, Yosys {found}"
    promised = (estimate["DSP"], estimate["BRAM_18K"] / 2, estimate["URAM"])
    assert promised == (found.DSP, found.BRAM36, found.URAM), text
    assert abs(estimate["LUT"] - found.LUT) <= 0.2 * found.LUT, text


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled([SEED * 1000 + i for i in range(4)], 1))
def test_estimate_agrees_with_yosys(seed, tmp_path):
    attrs = drawn(seed)
    op, model = build_node("PrunedAttention", attrs, [exp_table(0.05)], "dut")
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    op.code_generation_ipgen(model, PART, 5.0)
    check_estimate(op, attrs)


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.parametrize("seed", [SEED * 1000 + i for i in range(3)])
def test_estimate_of_a_shared_unit_agrees_with_yosys(seed):
    rng, common = np.random.default_rng(seed), drawn(seed)
    uses = []
    for tokens in sorted(rng.integers(5, common["tokens"], int(rng.integers(2, 8)), endpoint=True).tolist(), reverse=True):
        own = {"tokens": tokens, "queries": tokens, "heads": int(rng.integers(1, 5)), "scores": int(rng.integers(0, 2))}
        own |= {"logit_shift": 27 + int(rng.integers(0, 4)), "recip_shift": 30 + int(rng.integers(0, 4))}
        own |= {"logit_mult": int(rng.integers(1 << 16, 1 << 17)), "recip_num": int(rng.integers(255 << 23, 255 << 24))}
        uses.append(Use(common | own, (exp_table(0.05),)))
    op, _, folder = generate_shared("PrunedAttention", uses)
    with folder:
        check_estimate(op, [use.attrs for use in uses])


def deit_small(tokens, bits, **fold):
    """Attention of a DeiT-Small: 6 heads of 64 channels."""
    attrs = drawn(1) | {
        "tokens": tokens, "queries": tokens, "heads": 6, "head_dim": 64, "scores": 1, "SIMD": 1, "PE": 1, "ram_style": "auto",
        "inputDataType": f"INT{bits}", "outputDataType": f"INT{bits}",
    }  # fmt: skip
    return build_node("PrunedAttention", attrs | fold)[0].folding()


@pytest.mark.parametrize(
    "tokens, bits, simd, pe, style, memories, capacity",
    [
        # words 2 x 6 x ceil(N / PE) x 64 / SIMD; block RAMs of 18 Kbit, UltraRAMs of 288 Kbit, LUTRAM of 64 words
        (197, 8, 16, 22, "block", 44, 4 * 18432),  # 432 words of 128 bits: 4 of 512 x 36
        (197, 4, 32, 22, "distributed", 44, 256 * 128),  # 216 words of 128 bits
        (28, 8, 8, 1, "ultra", 2, 294912),  # 2,688 words of 64 bits
        (28, 8, 2, 4, "block", 8, 18432 * 3),  # 2,688 words of 16 bits
    ],
)
def test_capacity_of_keys_and_values_by_hand(tokens, bits, simd, pe, style, memories, capacity):
    g = deit_small(tokens, bits, SIMD=simd, PE=pe, ram_style=style)
    assert g.kv_ram_bits == memories * capacity
    assert g.kv_code_bits == 2 * (tokens * 2 * 6 * 64) * bits


@pytest.mark.parametrize("bits, interval", [(8, 46_000), (4, 21_400)])
@pytest.mark.parametrize("tokens", [197, 100, 52, 28])
def test_memories_of_keys_and_values_hold_at_most_twice_the_codes(bits, interval, tokens):
    """Some fold within the interval, with at most a tenth more DSP slices than the cheapest, in block RAM or LUTRAM."""
    g = deit_small(tokens, bits)
    folds = [f for f in all_folds(g) if f.cycles <= interval]
    held = [
        f for fold in folds for style in ("block", "distributed")
        if (f := replace(fold, style=style)).kv_ram_bits <= 2 * f.kv_code_bits
    ]  # fmt: skip
    assert min(map(dsp, held)) <= 1.1 * min(map(dsp, folds))


@pytest.mark.parametrize("interval", [200_000, 59_000, 20_000, 1_000])
def test_fold_is_the_cheapest_within_the_interval(interval):
    """Against all folds of a 50-token, 3-head unit; an interval out of reach gets the fastest."""
    attrs = drawn(1) | {"tokens": 50, "queries": 50, "heads": 3, "head_dim": 16, "SIMD": 1, "PE": 1}
    op, _ = build_node("PrunedAttention", attrs)
    chosen = op.folding().for_interval(interval).attributes()
    assert (op.get_nodeattr("SIMD"), op.get_nodeattr("PE")) == (1, 1), "the node itself is left as it was"
    costs = {}
    for simd in (1, 2, 4, 8, 16):
        for pe in range(1, 51):
            op.set_nodeattr("SIMD", simd)
            op.set_nodeattr("PE", pe)
            costs[simd, pe] = op.get_exp_cycles(), op.dsp_estimation(PART)
    cycles, dsp = costs[chosen["SIMD"], chosen["PE"]]
    reachable = [d for c, d in costs.values() if c <= interval]
    if reachable:
        assert cycles <= interval and dsp == min(reachable)
    else:
        assert cycles == min(c for c, _ in costs.values())
