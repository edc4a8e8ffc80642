// One element of LayerNorm: clip(round_half_even((gain x - offset) 2^-(8 + e + SHIFT))) to OUT_WIDTH
// signed bits, 8 cycles after x. Each input belongs to the element in the stage that uses it: gain when x is in x_q,
// offset[25:0] two cycles later, its upper part three, mask (bit i: i < e) and coarse (e without its three lowest bits) four,
// fine (these) five. With CENTRED 0 there is no offset.
`default_nettype none

module vp_layernorm_lane #(
    int unsigned OUT_WIDTH = 8,
    int unsigned SHIFT     = 12,
    int unsigned MOST_E    = 25,
    bit          CENTRED   = 1'b1
) (
    input  wire logic               clk,
    input  wire logic signed [15:0] x,
    input  wire logic [36:0]        gain,
    input  wire logic [52:0]        offset,
    input  wire logic [MOST_E-1:0]  mask,
    input  wire logic [$clog2(MOST_E + 1)-4:0] coarse,
    input  wire logic [2:0]         fine,
    output      logic [OUT_WIDTH-1:0] y
);
    localparam int unsigned DROP = 7 + SHIFT;
    localparam int unsigned SHIFTED_W = 53 - DROP;     // bits left after the constant shift
    localparam int unsigned COARSE_W = OUT_WIDTH + 8;  // after the coarse shift by multiples of 8
    if (SHIFT > 29 || OUT_WIDTH > 8) $error("vp_layernorm_lane: SHIFT %0d must be at most 29, OUT_WIDTH %0d at most 8", SHIFT, OUT_WIDTH);
    localparam logic [OUT_WIDTH-1:0] MAX_OUT = {1'b0, {(OUT_WIDTH - 1) {1'b1}}};
    localparam logic [OUT_WIDTH-1:0] MIN_OUT = {1'b1, {(OUT_WIDTH - 1) {1'b0}}};

    // Two multipliers with registers of operands, product and result. The offset is subtracted in two parts, the upper
    // a cycle after the lower.
    logic signed [15:0] x_q;
    logic [16:0] carried;  // of the lower product, into the upper
    logic [27:0] high_m_q, high_q;
    logic [26:0] high_sum_q, high_diff;
    logic [25:0] low_diff;
    logic [52:0] p_q;
    if (CENTRED) begin : g_offset
        logic [42:0] low_m_q, low_q;
        logic [26:0] low_diff_q;  // with the borrow on top
        logic below;  // of the carry-in's own bit
        assign carried  = low_q[42:26];
        assign low_diff = low_diff_q[25:0];
        assign {high_diff, below} = {high_sum_q, 1'b1} + {~offset[52:26], !low_diff_q[26]};
        always_ff @(posedge clk) begin
            low_m_q    <= x_q * $signed({1'b0, gain[25:0]});
            low_q      <= low_m_q;
            low_diff_q <= {1'b0, low_q[25:0]} - {1'b0, offset[25:0]};
        end
    end else begin : g_no_offset
        // Registers of the slice, which must not become shift registers in LUTs with those behind them.
        (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
        logic [42:0] low_m_q, low_q;
        logic [25:0] low_copy_q;
        assign carried   = low_q[42:26];
        assign low_diff  = low_copy_q;
        assign high_diff = high_sum_q;
        always_ff @(posedge clk) begin
            low_m_q    <= x_q * $signed({1'b0, gain[25:0]});
            low_q      <= low_m_q;
            low_copy_q <= low_q[25:0];
        end
    end
    always_ff @(posedge clk) begin
        x_q        <= x;
        high_m_q   <= x_q * $signed({1'b0, gain[36:26]});
        high_q     <= high_m_q;
        high_sum_q <= high_q[26:0] + 27'($signed(carried));
        p_q        <= {high_diff, low_diff};
    end

    // Variable shift: only the result and its rounding bit pass the shifter; what lies below goes to
    // the sticky bit, what lies above to the range check.
    wire logic signed [SHIFTED_W-1:0] q = p_q[52:DROP];
    wire logic signed [SHIFTED_W+COARSE_W-1:0] q_wide = (SHIFTED_W + COARSE_W)'(q);
    logic [COARSE_W-1:0] part_q;
    logic [OUT_WIDTH-1:0] value_q;
    logic half_q, rest_q, outside_q, negative_q, negative2_q;
    // Whether a bit under the rounding bit is set, and whether one from the result's sign up differs from the sign, by
    // parts of the bits.
    localparam int unsigned MIDDLE = (OUT_WIDTH + SHIFTED_W) / 2;
    logic [2:0] sticky_q;
    logic [1:0] differ_q;
    wire logic [SHIFTED_W-1:0] dropped = q & SHIFTED_W'(mask);
    wire logic [SHIFTED_W-1:0] differ = (q ^ {SHIFTED_W{q[SHIFTED_W-1]}}) & ~SHIFTED_W'({mask, {OUT_WIDTH{1'b1}}});
    wire logic up = half_q && (rest_q || value_q[0]);  // to even
    wire logic [OUT_WIDTH:0] kept = (OUT_WIDTH + 1)'(part_q >> fine);
    always_ff @(posedge clk) begin
        part_q      <= COARSE_W'(q_wide >>> {coarse, 3'd0});
        sticky_q    <= {|dropped[SHIFTED_W-1:12], |dropped[11:0], |p_q[DROP-1:0]};
        differ_q    <= {|differ[SHIFTED_W-1:MIDDLE], |differ[MIDDLE-1:0]};
        negative_q  <= q[SHIFTED_W-1];
        value_q     <= kept[OUT_WIDTH:1];
        half_q      <= kept[0];
        rest_q      <= |sticky_q;
        outside_q   <= |differ_q;
        negative2_q <= negative_q;
        if (outside_q) y <= negative2_q ? MIN_OUT : MAX_OUT;
        else if (up && value_q == MAX_OUT) y <= MAX_OUT;
        else y <= value_q + OUT_WIDTH'(up);
    end
endmodule

`default_nettype wire
