"""vp_credits, vp_counter and vp_sized_counter: their flags, a register each, against counting in Python."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rtl.test_memories import outputs
from tests.rtl.test_stream_blocks import build
from tests.sampling import spread

COMMON = """
    logic valid_q;
    always_ff @(posedge ap_clk) valid_q <= ap_rst_n && in0_V_tvalid;
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = valid_q;
"""


@pytest.mark.parametrize("count, free", spread([(1, 1), (1, 0), (2, 2), (2, 0), (5, 5), (8, 3)], 4, several=True))
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


@pytest.mark.parametrize("count", spread([1, 2, 3, 8, 100], 4))
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


def test_sized_counter_has_every_count_in_any_order(tmp_path):
    """The count of the beats of a run comes with each of them; 1 and the most are among them."""
    most = 9
    body = f"""{COMMON}
    vp_sized_counter #(.MOST({most})) dut (
        .clk(ap_clk), .rst_n(ap_rst_n), .less_2(in0_V_tdata[5:1]), .step(in0_V_tvalid && in0_V_tdata[0]),
        .count(out0_V_tdata[3:0]), .last(out0_V_tdata[7])
    );
    assign out0_V_tdata[6:4] = '0;"""
    sim = build(tmp_path, body, ["vp_sized_counter"], 8, [8])
    rng = np.random.default_rng(most)
    data, want, size, value = [], [], 1, 0
    for _ in range(3000):
        step = int(rng.random() < 0.7)
        data.append([step | (size - 2) % 32 << 1])
        value += step
        if value == size:
            size, value = int(rng.integers(1, most, endpoint=True)), 0
        want.append(value + 128 * (value == size - 1))  # seen with the next beat
    assert outputs(sim, np.array(data, np.uint8))[:-1].tolist() == want[:-1]
