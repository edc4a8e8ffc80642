// Integer LayerNorm over tokens of D signed 16-bit codes, SIMD a beat, without gamma and beta.
// A token is summed (stats) while the one before is in the reciprocal square root (rsqrt) and the one
// before that leaves, so a token takes the larger of D/SIMD and 36 cycles. The codes wait in a FIFO.
`default_nettype none

module vp_layernorm #(
    int unsigned D         = 48,
    int unsigned SIMD      = 4,
    int unsigned OUT_WIDTH = 8,
    logic [63:0] EPS       = 64'd1,
    int unsigned MULT      = 65536,
    int unsigned SHIFT     = 12,
    parameter    SEED_FILE = "",
    localparam int unsigned OUT_BITS = (SIMD * OUT_WIDTH + 7) / 8 * 8
) (
    input  wire logic                clk,
    input  wire logic                rst_n,
    input  wire logic [SIMD*16-1:0]  in0_tdata,
    input  wire logic                in0_tvalid,
    output      logic                in0_tready,
    output      logic [OUT_BITS-1:0] out0_tdata,
    output      logic                out0_tvalid,
    input  wire logic                out0_tready
);
    if (D < 2 || D > 1024 || SIMD < 1 || D % SIMD != 0 || SHIFT > 29 || MULT >= (1 << 17)
        || EPS < 1 || EPS >= (64'd1 << 51)) begin : g_check
        $error("vp_layernorm: D %0d, SIMD %0d, MULT %0d, SHIFT %0d or EPS %0d out of range",
               D, SIMD, MULT, SHIFT, EPS);
    end
    localparam int unsigned BEATS = D / SIMD;
    localparam int unsigned BEAT_W = BEATS > 1 ? $clog2(BEATS) : 1;
    localparam int unsigned RSQRT = 36;
    localparam int unsigned S1_WIDTH = 16 + $clog2(D);
    localparam int unsigned S2_WIDTH = 31 + $clog2(D);
    localparam int unsigned HELD = BEATS + (BEATS < RSQRT ? BEATS : RSQRT) + $clog2(SIMD + 1) + 10;
    localparam int unsigned DROP = 7 + SHIFT;
    localparam int unsigned SHIFTED_W = DROP + OUT_WIDTH + 2 > 53 ? OUT_WIDTH + 2 : 53 - DROP;

    // Input: to the sums and to the FIFO, both or neither.
    logic [SIMD*16-1:0] x_data, held_data;
    logic x_valid, x_ready, stats_ready, fifo_ready, held_valid;
    vp_skid #(.WIDTH(SIMD * 16)) skid_in (
        .clk, .rst_n, .in_data(in0_tdata), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x_data), .out_valid(x_valid), .out_ready(x_ready)
    );
    assign x_ready = stats_ready && fifo_ready;

    logic signed [S1_WIDTH-1:0] s1;
    logic [S2_WIDTH-1:0] s2;
    logic sums_valid, sums_ready;
    vp_layernorm_stats #(.BEATS(BEATS), .SIMD(SIMD), .S1_WIDTH(S1_WIDTH), .S2_WIDTH(S2_WIDTH)) stats (
        .clk, .rst_n, .in_data(x_data), .in_valid(x_valid && fifo_ready), .in_ready(stats_ready),
        .s1, .s2, .out_valid(sums_valid), .out_ready(sums_ready)
    );
    logic [36:0] gain, gain_q;
    logic signed [52:0] offset, offset_q, offset2_q;
    logic [4:0] e, e_q[5];
    logic scale_valid, scale_ready, scale_valid_q;
    vp_layernorm_rsqrt #(
        .D(D), .S1_WIDTH(S1_WIDTH), .S2_WIDTH(S2_WIDTH), .EPS(EPS[51:0]), .MULT(MULT), .SEED_FILE(SEED_FILE)
    ) rsqrt (
        .clk, .rst_n, .s1, .s2, .in_valid(sums_valid), .in_ready(sums_ready),
        .gain, .offset, .e, .out_valid(scale_valid), .out_ready(scale_ready)
    );

    // Output: a beat leaves the FIFO once its token's scale is known.
    logic [BEAT_W-1:0] beat_q;
    logic y_ready;
    logic [5:0] valid_q;
    wire logic en = y_ready;
    wire logic take = en && held_valid && scale_valid_q;
    wire logic last = beat_q == BEAT_W'(BEATS - 1);
    assign scale_ready = !scale_valid_q || (take && last);
    vp_fifo #(.WIDTH(SIMD * 16), .DEPTH(HELD)) held (
        .clk, .rst_n, .in_data(x_data), .in_valid(x_valid && stats_ready), .in_ready(fifo_ready),
        .out_data(held_data), .out_valid(held_valid), .out_ready(en && scale_valid_q)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            scale_valid_q <= 1'b0;
            beat_q        <= '0;
            valid_q       <= '0;
        end else begin
            if (scale_ready) scale_valid_q <= scale_valid;
            if (take) beat_q <= last ? '0 : beat_q + 1'b1;
            if (en) valid_q <= {valid_q[4:0], take};
        end
    end

    // The scale travels beside the beat it belongs to.
    logic [SHIFTED_W-1:0] below_q, above_q;
    always_ff @(posedge clk) begin
        if (scale_ready) begin
            gain_q   <= gain;
            offset_q <= offset;
            e_q[0]   <= e;
        end
        if (en) begin
            offset2_q <= offset_q;
            for (int i = 1; i < 5; i++) e_q[i] <= e_q[i-1];
            for (int unsigned i = 0; i < SHIFTED_W; i++) begin
                below_q[i] <= i < 25 && i < 32'(e_q[2]);
                above_q[i] <= i >= OUT_WIDTH + 25 || i >= OUT_WIDTH + 32'(e_q[2]);
            end
        end
    end

    logic [OUT_BITS-1:0] y;
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        vp_layernorm_lane #(.OUT_WIDTH(OUT_WIDTH), .SHIFT(SHIFT), .SHIFTED_W(SHIFTED_W)) lane (
            .clk, .en, .x(held_data[i*16+:16]), .gain(gain_q), .offset(offset2_q), .coarse(e_q[3]),
            .fine(e_q[4][2:0]), .below(below_q), .above(above_q), .y(y[i*OUT_WIDTH+:OUT_WIDTH])
        );
    end
    if (OUT_BITS > SIMD * OUT_WIDTH) begin : g_pad
        assign y[OUT_BITS-1:SIMD*OUT_WIDTH] = '0;
    end
    vp_skid #(.WIDTH(OUT_BITS)) skid_out (
        .clk, .rst_n, .in_data(y), .in_valid(valid_q[5]), .in_ready(y_ready),
        .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
endmodule

`default_nettype wire
