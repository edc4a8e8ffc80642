"""vp_credits and vp_counter: their flags, a register each, against counting in Python."""

from __future__ import annotations

import numpy as np
import pytest
from tests.rtl.test_memories import outputs
from tests.rtl.test_stream_blocks import build

COMMON = """
    logic valid_q;
    always_ff @(posedge ap_clk) valid_q <= ap_rst_n && in0_V_tvalid;
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = valid_q;
"""


@pytest.mark.parametrize("count, free", [(1, 1), (1, 0), (2, 2), (2, 0), (5, 5), (8, 3)])
def test_credits_say_in_every_cycle_whether_one_is_free(tmp_path, count, free):
    body = f"""{COMMON}
    vp_credits #(.COUNT({count}), .FREE({free})) dut (
        .clk(ap_clk), .rst_n(ap_rst_n), .take(in0_V_tvalid && in0_V_tdata[0]), .give(in0_V_tvalid && in0_V_tdata[1]),
        .can_take(out0_V_tdata[0])
    );
    assign out0_V_tdata[7:1] = '0;"""
    sim = build(tmp_path, body, ["vp_credits"], 8, [8])
    rng = np.random.default_rng(count)
    data, want = [], []
    for i in range(2000):
        eager = 0.8 if i // 50 % 2 else 0.3  # runs full and empty in turn
        take = free > 0 and rng.random() < eager
        give = (free < count or take) and rng.random() < 1 - eager
        free += give - take
        data.append([take | give << 1])
        want.append(free > 0)
    assert 200 < sum(want) < 1950
    assert outputs(sim, np.array(data, np.uint8)).tolist() == want


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
def test_counter_counts_and_flags_its_last_step(tmp_path, count):
    body = f"""{COMMON}
    vp_counter #(.COUNT({count})) dut (
        .clk(ap_clk), .rst_n(ap_rst_n), .step(in0_V_tvalid && in0_V_tdata[0]),
        .count(out0_V_tdata[0+:{max(1, (count - 1).bit_length())}]), .last(out0_V_tdata[7])
    );"""
    if (unused := 7 - max(1, (count - 1).bit_length())) > 0:
        body += f" assign out0_V_tdata[6-:{unused}] = '0;"
    sim = build(tmp_path, body, ["vp_counter"], 8, [8])
    steps = np.random.default_rng(count).random(1500) < 0.7
    value = np.cumsum(steps) % count
    want = value + 128 * (value == count - 1)
    assert outputs(sim, steps[:, None].astype(np.uint8)).tolist() == want.tolist()
