"""vp_attention_scores alone: quotients next to an integer, where the precision of its reciprocal shows."""

from __future__ import annotations

import numpy as np
import pytest

from finn_vitprune.custom_ops.attention.sizes import division_cycles
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.sim import Port, Stimulus, compile_top
from tests.rtl.benches.helper import PATTERNS
from tests.sampling import spread

KEYS, ROWS = 4, 20
TOP = """
module scores_top (
    input  wire ap_clk, input wire ap_rst_n,
    input  wire [63:0] in0_V_tdata, input wire in0_V_tvalid, output wire in0_V_tready,
    output wire [23:0] out0_V_tdata, output wire out0_V_tvalid, input wire out0_V_tready
);
    wire take = in0_V_tvalid && in0_V_tready;
    logic z_valid;
    logic [{z_width}-1:0] z;
    wire [16:0] score;
    always_ff @(posedge ap_clk) begin
        z_valid <= take && ap_rst_n;
        z <= in0_V_tdata[32+:{z_width}];
    end
    vp_attention_scores #(
        .TOKENS({keys}), .HEADS(1), .SHAPES({{32'({keys} - 2), 32'hffffffff}}), .PE({keys}), .Z_WIDTH({z_width}), .SCORE_WIDTH(17), .DIVIDE_STAGES({stages}), .ROWS({rows})
    ) dut (
        .clk(ap_clk), .rst_n(ap_rst_n), .load_in('0), .load_out(), .room(in0_V_tready), .take, .e_valid(take), .e(in0_V_tdata[31:0]),
        .z_valid, .z, .z_encoder(1'b0), .out_data(score), .out_valid(out0_V_tvalid), .out_ready(out0_V_tready)
    );
    assign out0_V_tdata = 24'(score);
endmodule
"""


def tight_pairs(z_width: int) -> tuple[np.ndarray, np.ndarray]:
    """All E and Z of ``z_width`` bits where 2**16 E / Z is an integer, or 1 / Z less than one."""
    z, e = np.arange(255, 1 << z_width), np.arange(1, 256)[:, None]
    rest = (e << 16) % z
    rows, columns = np.nonzero((rest == 0) | (rest == z - 1))
    return e[rows, 0], z[columns]


@pytest.mark.parametrize("z_width, stages", spread([(9, 1), (10, 3), (13, 1), (16, 5)], 6, several=True))
def test_scores_are_exact_where_the_reciprocal_is_tightest(z_width, stages, tmp_path):
    """2**P / Z rounded up, P = 24 + Z_WIDTH: less precision, or another rounding, is wrong at some pair of these.

    More precision is not wrong, but takes longer: frames of one head follow one another as fast as divisions.
    """
    e, z = tight_pairs(z_width)
    exact = (e << 16) // z
    p = 24 + z_width
    reciprocals = {p: -(-(1 << p) // z), p - 1: -(-(1 << p - 1) // z)}
    assert np.array_equal(e * reciprocals[p] >> p - 16, exact)
    assert np.any(e * reciprocals[p - 1] >> p - 17 != exact), "a bit less is not enough"
    for wrong in (reciprocals[p] - 1, reciprocals[p] + 1, reciprocals[p] & ~1):
        assert np.any(e * wrong >> p - 16 != exact), "every bit of the reciprocal counts"

    row = np.stack([e, 255 - e, e >> 1, np.full_like(e, 255)], axis=-1)
    (tmp_path / "scores_top.sv").write_text(TOP.format(z_width=z_width, stages=stages, keys=KEYS, rows=ROWS))
    sources = [*rtl_sources("vp_attention_scores"), tmp_path / "scores_top.sv"]
    sim = compile_top("scores_top", sources, [Port("in0_V", 64)], [Port("out0_V", 24)], optimise=True)
    z_bytes = z.astype("<u4").view(np.uint8).reshape(-1, 4)
    feed = {"in0_V": np.concatenate([row.astype(np.uint8), z_bytes], axis=1)}
    scores = (row << 16) // z[:, None]
    want = {"out0_V": scores.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]}
    result = sim.run(feed, want)
    assert result.ok, result
    assert set(result.intervals("out0_V", KEYS)) == {max(division_cycles(p - 7, stages), KEYS)}
    few = {"in0_V": feed["in0_V"][-300:]}, {"out0_V": want["out0_V"][-300 * KEYS :]}
    for stimulus in (*PATTERNS[:3], Stimulus(seed=4, reset_at=501)):
        assert sim.run(*few, stimulus=stimulus).ok, stimulus
