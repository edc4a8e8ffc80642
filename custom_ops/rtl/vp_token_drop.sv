// Token drop without a frame buffer: of TOKENS tokens the first (class token) and the KEEP of highest
// score pass in order, then follows one token fused of the others. TOKENS tokens a frame go in, KEEP + 2
// come out, and a frame takes TOKENS * D / SIMD cycles whichever tokens are kept: while the fused token
// leaves, the next frame's first token waits in a FIFO that the next dropped token empties. With
// KEEP = TOKENS - 1 nothing is dropped: tokens pass unchanged and scores are taken and ignored.
`default_nettype none

module vp_token_drop #(
    int unsigned TOKENS       = 17,
    int unsigned D            = 48,
    int unsigned SIMD         = 4,
    int unsigned KEEP         = 8,
    int unsigned SCORE_WIDTH  = 18,
    int unsigned ACC_WIDTH    = 33,
    int unsigned MULT         = 1,
    int unsigned MULT_WIDTH   = 1,
    int unsigned SHIFT        = 17,
    int unsigned SEARCH_LANES = 0,
    localparam int unsigned SCORE_BITS = (SCORE_WIDTH + 7) / 8 * 8
) (
    input  wire logic                  clk,
    input  wire logic                  rst_n,
    input  wire logic [SIMD*16-1:0]    in0_tdata,
    input  wire logic                  in0_tvalid,
    output      logic                  in0_tready,
    input  wire logic [SCORE_BITS-1:0] in1_tdata,
    input  wire logic                  in1_tvalid,
    output      logic                  in1_tready,
    output      logic [SIMD*16-1:0]    out0_tdata,
    output      logic                  out0_tvalid,
    input  wire logic                  out0_tready
);
    if (SIMD < 1 || D % SIMD != 0 || KEEP < 1 || KEEP >= TOKENS || SCORE_WIDTH > 26) begin : g_check
        $error("vp_token_drop: TOKENS %0d, KEEP %0d, D %0d, SIMD %0d or SCORE_WIDTH %0d out of range",
               TOKENS, KEEP, D, SIMD, SCORE_WIDTH);
    end

    if (KEEP == TOKENS - 1) begin : g_all
        vp_skid #(.WIDTH(SIMD * 16)) skid (
            .clk, .rst_n, .in_data(in0_tdata), .in_valid(in0_tvalid), .in_ready(in0_tready),
            .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
        always_ff @(posedge clk) in1_tready <= rst_n;
    end else begin : g_drop
        localparam int unsigned BEATS = D / SIMD;
        localparam int unsigned BW = BEATS > 1 ? $clog2(BEATS) : 1;
        localparam int unsigned DROPS = TOKENS - 1 - KEEP;
        localparam int unsigned DW = DROPS > 1 ? $clog2(DROPS) : 1;
        localparam int unsigned DEPTH = (BEATS > 12 ? BEATS : 12) + 4;
        localparam int unsigned OUT_BEATS = (KEEP + 2) * BEATS;
        localparam int unsigned OW = $clog2(OUT_BEATS);

        logic [SIMD*16-1:0] x, kept, fused;
        logic [SCORE_WIDTH-1:0] s, score;
        logic x_valid, x_ready, s_valid, s_ready, keep, known, decision_ready;
        vp_skid #(.WIDTH(SIMD * 16)) skid_x (
            .clk, .rst_n, .in_data(in0_tdata), .in_valid(in0_tvalid), .in_ready(in0_tready),
            .out_data(x), .out_valid(x_valid), .out_ready(x_ready)
        );
        vp_skid #(.WIDTH(SCORE_WIDTH)) skid_s (
            .clk, .rst_n, .in_data(in1_tdata[SCORE_WIDTH-1:0]), .in_valid(in1_tvalid), .in_ready(in1_tready),
            .out_data(s), .out_valid(s_valid), .out_ready(s_ready)
        );
        vp_token_drop_rank #(
            .COUNT(TOKENS - 1), .KEEP(KEEP), .WIDTH(SCORE_WIDTH), .SEARCH_LANES(SEARCH_LANES)
        ) rank (
            .clk, .rst_n, .in_score(s), .in_valid(s_valid), .in_ready(s_ready),
            .out_score(score), .out_keep(keep), .out_valid(known), .out_ready(decision_ready)
        );

        // Each beat goes to the kept FIFO or to the fused token.
        logic [BW-1:0] beat_q;
        logic [DW-1:0] drop_q;
        logic kept_ready, fuse_ready, kept_valid, fused_valid, skid_ready, fusing_q;
        wire logic last_beat = beat_q == BW'(BEATS - 1);
        wire logic last_drop = drop_q == DW'(DROPS - 1);
        assign x_ready = known && (keep ? kept_ready : (!last_drop || fuse_ready));
        wire logic take = x_valid && x_ready;
        assign decision_ready = take && last_beat;
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                beat_q <= '0;
                drop_q <= '0;
            end else if (take) begin
                beat_q <= last_beat ? '0 : beat_q + 1'b1;
                if (last_beat && !keep) drop_q <= last_drop ? '0 : drop_q + 1'b1;
            end
        end
        vp_fifo #(.WIDTH(SIMD * 16), .DEPTH(DEPTH)) fifo_kept (
            .clk, .rst_n, .in_data(x), .in_valid(x_valid && known && keep), .in_ready(kept_ready),
            .out_data(kept), .out_valid(kept_valid), .out_ready(skid_ready && !fusing_q)
        );
        vp_token_drop_fuse #(
            .BEATS(BEATS), .SIMD(SIMD), .SCORE_WIDTH(SCORE_WIDTH), .ACC_WIDTH(ACC_WIDTH), .MULT(MULT),
            .MULT_WIDTH(MULT_WIDTH), .SHIFT(SHIFT), .DEPTH(DEPTH)
        ) fuse (
            .clk, .rst_n, .in_x(x), .in_score(score), .in_beat(beat_q), .in_first(drop_q == '0),
            .in_last(last_drop), .in_valid(take && !keep), .in_ready(fuse_ready),
            .out_data(fused), .out_valid(fused_valid), .out_ready(skid_ready && fusing_q)
        );

        // Output: the kept tokens, then the fused one.
        logic [OW-1:0] out_q;
        wire logic out_valid = fusing_q ? fused_valid : kept_valid;
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                out_q    <= '0;
                fusing_q <= 1'b0;
            end else if (out_valid && skid_ready) begin
                out_q <= out_q == OW'(OUT_BEATS - 1) ? '0 : out_q + 1'b1;
                if (out_q == OW'(OUT_BEATS - 1)) fusing_q <= 1'b0;
                else if (out_q == OW'(OUT_BEATS - BEATS - 1)) fusing_q <= 1'b1;
            end
        end
        vp_skid #(.WIDTH(SIMD * 16)) skid_out (
            .clk, .rst_n, .in_data(fusing_q ? fused : kept), .in_valid(out_valid), .in_ready(skid_ready),
            .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
    end
endmodule

`default_nettype wire
