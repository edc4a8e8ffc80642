"""vp_layernorm_scales alone: every bit of gain and offset, for every seed and every power of four."""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

import numpy as np
import pytest

from finn_vitprune import numerics
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.sim import Port, compile_top
from tests.rtl.benches.helper import PATTERNS
from tests.sampling import spread

SEEDS = range(64, 256)
TOP = """
module rsqrt_top (
    input  wire ap_clk, input wire ap_rst_n,
    input  wire [79:0] in0_V_tdata, input wire in0_V_tvalid, output wire in0_V_tready,
    output wire [95:0] out0_V_tdata, output wire out0_V_tvalid, input wire out0_V_tready
);
    wire [36:0] gain;
    wire [52:0] offset;
    wire [4:0] e;
    vp_layernorm_scales #(
        .D({d}), .S1_WIDTH(27), .S2_WIDTH(52), .ROOTS({roots}), .SEED_FILE("seeds.dat")
    ) dut (
        .clk(ap_clk), .rst_n(ap_rst_n), .s1(in0_V_tdata[26:0]), .s2(in0_V_tdata[78:27]), .in_valid(in0_V_tvalid),
        .in_ready(in0_V_tready), .eps(51'd{eps}), .mult(17'd{mult}), .top(5'd25), .known(1'b1),
        .gain, .offset, .e, .out_valid(out0_V_tvalid), .out_ready(out0_V_tready)
    );
    assign out0_V_tdata = 96'({{e, offset, gain}});
endmodule
"""


def reciprocals(v: np.ndarray, step: int = 0) -> np.ndarray:
    """r of :func:`numerics.reciprocal_sqrt` with every seed ``step`` larger."""
    seeds = numerics.layernorm_seed_table() + step
    with patch.object(numerics, "layernorm_seed_table", lambda: seeds):
        return numerics.reciprocal_sqrt(v)[0]


@cache
def mantissas() -> np.ndarray:
    """m ``[seed, 6]``, 22 fraction bits: the first and the last of a seed, and four that tell it from one more or less."""
    first = np.array(SEEDS)[:, None] << 16
    many = first + np.random.default_rng(1).integers(0, 1 << 16, (len(SEEDS), 3000))
    telling = [reciprocals(many, step) != reciprocals(many) for step in (-1, -1, 1, 1)]
    telling[1][:, :1500] = telling[3][:, :1500] = False
    assert all(np.all(t.any(axis=1)) for t in telling), "no seed could be another"
    chosen = [np.take_along_axis(many, t.argmax(axis=1)[:, None], axis=1) for t in telling]
    return np.concatenate([first, first + 0xFFFF, *chosen], axis=1)


def variances() -> np.ndarray:
    """v ``[e, seed, 6]`` of all :func:`mantissas` times 4**e, every other one with all ones below the mantissa."""
    e = np.arange(26)[:, None, None]
    up = np.maximum(2 * e - 22, 0)
    v = mantissas() << up >> np.maximum(22 - 2 * e, 0)
    v[..., 1::2] |= (1 << up) - 1  # it is cut, not rounded
    return v


def golden(d, mult, eps, s1, s2):
    """``(gain, offset, e)`` by :func:`numerics.reciprocal_sqrt`."""
    r, e = numerics.reciprocal_sqrt(d * s2 - s1 * s1 + eps)
    scale = r * mult >> 16
    return d * scale, s1 * scale, e


def as_bytes(*fields: tuple[np.ndarray, int]) -> np.ndarray:
    """Beats of ``(values, bits)`` fields, lowest first, in whole bytes."""
    size = -(-sum(bits for _, bits in fields) // 8)
    words = []
    for values in zip(*(v.tolist() for v, _ in fields), strict=True):
        word = at = 0
        for value, (_, bits) in zip(values, fields):
            word |= (value & (1 << bits) - 1) << at
            at += bits
        words.append(list(word.to_bytes(size, "little")))
    return np.array(words, np.uint8)


def sums(d: int, eps: int) -> tuple[np.ndarray, np.ndarray]:
    """S1 and S2 of all :func:`variances` that ``d`` channels reach, S1 of both signs and every size."""
    v = variances().reshape(-1)
    rng = np.random.default_rng(d)
    s1 = rng.integers(-(1 << 26), 1 << 26, v.shape) >> rng.integers(0, 27, v.shape)
    s1 = np.where(np.abs(s1) <= max(d << 15, 1 << 25), s1, 0)
    s2 = (v - eps + s1 * s1) // d
    held = (d * s2 - s1 * s1 + eps > 0) & (s2 >= 0) & (d * s2 < 1 << 52)
    return s1[held], s2[held]


@pytest.mark.parametrize(
    "d, mult, eps, roots",
    spread([(1, 65536, 1, 1), (1, 131071, 4095, 2), (1023, 98765, 1 << 30, 3), (1664, 131071, 1 << 50, 1)], 2, several=True),
)
def test_every_seed_and_exponent_to_the_last_bit(d, mult, eps, roots, tmp_path):
    s1, s2 = sums(d, eps)
    gain, offset, e = golden(d, mult, eps, s1, s2)
    assert set(e.tolist()) >= set(range(11, 26))
    (tmp_path / "rsqrt_top.sv").write_text(TOP.format(d=d, mult=mult, eps=eps, roots=roots))
    (tmp_path / "seeds.dat").write_text("\n".join(f"{s:x}" for s in numerics.layernorm_seed_table()))
    sources = [*rtl_sources("vp_layernorm_scales"), tmp_path / "rsqrt_top.sv"]
    sim = compile_top("rsqrt_top", sources, [Port("in0_V", 80)], [Port("out0_V", 96)], optimise=True)
    feed = as_bytes((s1, 27), (s2, 52))
    want = as_bytes((gain, 37), (offset, 53), (e, 5))
    result = sim.run({"in0_V": feed}, {"out0_V": want}, data_dir=tmp_path)
    assert result.ok, f"{len(result.mismatches['out0_V'])} of {len(want)} differ, {result.deadlock}"
    for stimulus in PATTERNS[:2]:
        few = sim.run({"in0_V": feed[-400:]}, {"out0_V": want[-400:]}, data_dir=tmp_path, stimulus=stimulus)
        assert few.ok, stimulus
