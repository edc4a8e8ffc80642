"""vp_divide: quotients against Python's, its cycles against its header."""

import numpy as np
import pytest

from finn_vitprune.custom_ops.attention.sizes import division_cycles, division_latency
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.sim import Port, Stimulus, compile_top
from tests.sampling import spread

NUM, DEN, QUOT = 26, 12, 14
TOP = """
module divide_top (
    input  wire ap_clk, input wire ap_rst_n,
    input  wire [39:0] in0_V_tdata, input wire in0_V_tvalid, output wire in0_V_tready,
    output wire [15:0] out0_V_tdata, output wire out0_V_tvalid, input wire out0_V_tready
);
    wire [{quot}-1:0] quot;
    wire ready, can_take, done;
    assign in0_V_tready = ready && can_take;
    vp_divide #(.NUM_WIDTH({num}), .DEN_WIDTH({den}), .QUOT_WIDTH({quot}), .STAGES({stages})) dut (
        .clk(ap_clk), .rst_n(ap_rst_n), .num(in0_V_tdata[{num}-1:0]), .den(in0_V_tdata[{num}+:{den}]),
        .in_valid(in0_V_tvalid && can_take), .in_ready(ready), .quot, .out_valid(done)
    );
    vp_credit_fifo #(.WIDTH(16), .DEPTH(20)) results (
        .clk(ap_clk), .rst_n(ap_rst_n), .take(in0_V_tvalid && in0_V_tready), .can_take, .push(done), .push_data(16'(quot)),
        .out_data(out0_V_tdata), .out_valid(out0_V_tvalid), .out_ready(out0_V_tready)
    );
endmodule
"""


def operands(count, seed):
    """Numerators and denominators: quotients of every size, remainders 0 and den - 1 among them."""
    rng = np.random.default_rng(seed)
    den = rng.integers(1, 1 << DEN, count)
    den[:4] = [1, (1 << DEN) - 1, 1, 2]
    quot = rng.integers(0, 1 << rng.integers(1, QUOT + 1, count))
    quot[:4] = [(1 << QUOT) - 1, (1 << QUOT) - 1, 0, 1]
    rest = np.where(rng.random(count) < 0.5, rng.choice([0, 1], count) * (den - 1), rng.integers(0, den))
    return quot * den + rest, den


def as_bytes(values, size):
    return np.array([list(int(v).to_bytes(size, "little")) for v in values], np.uint8)


@pytest.mark.parametrize("stages", spread([1, 2, 3, 14], 6))
def test_quotients_and_cycles(stages, tmp_path):
    (tmp_path / "divide_top.sv").write_text(TOP.format(num=NUM, den=DEN, quot=QUOT, stages=stages))
    sources = [*rtl_sources("vp_divide"), *rtl_sources("vp_credit_fifo"), tmp_path / "divide_top.sv"]
    sim = compile_top("divide_top", sources, [Port("in0_V", 40)], [Port("out0_V", 16)], optimise=True)
    num, den = operands(400, seed=stages)
    feed = {"in0_V": as_bytes([int(n) | int(d) << NUM for n, d in zip(num, den)], 5)}
    want = {"out0_V": as_bytes([int(n) // int(d) for n, d in zip(num, den)], 2)}
    for stimulus in (Stimulus(), Stimulus(seed=2, pause=0.4, stall=0.4), Stimulus(seed=3, reset_at=300)):
        result = sim.run(feed, want, stimulus=stimulus)
        assert result.deadlock is None and not len(result.mismatches["out0_V"]) and not result.violations
        assert result.extra_beats["out0_V"] == 0
    run = sim.run(feed, want)
    assert set(np.diff(run.out_cycles["out0_V"]).tolist()) == {division_cycles(QUOT, stages)}
    fifo = 2  # cycles from a result to the output
    assert run.out_cycles["out0_V"][0] - run.in_cycles["in0_V"][0] == division_latency(QUOT, stages) + fifo
