// Op top of VitTokenMean: round_half_even(sum * MULT * 2^-SHIFT), saturated, of the sums of SIMD lanes over
// the tokens FIRST to TOKENS - 1 of a frame, one token out a frame. The sums of one token wait in a RAM of
// TOKEN_BEATS words; those of the last token go to the requantiser instead, while the next frame starts.
// Tokens before FIRST are taken and left out. Beats enter while a place of the FIFO at the output is free, and then pass
// without a stop.
`default_nettype none

module vp_token_mean #(
    int unsigned SIMD        = 1,
    int unsigned IN_WIDTH    = 16,
    int unsigned OUT_WIDTH   = 16,
    int unsigned TOKENS      = 4,
    int unsigned FIRST       = 0,
    int unsigned TOKEN_BEATS = 2,
    int unsigned ACC_WIDTH   = 18,
    int unsigned MULT        = 1,
    int unsigned MULT_WIDTH  = 1,
    int unsigned SHIFT       = 2,
    parameter    STYLE       = "distributed",
    localparam int unsigned IN_BEAT_W = SIMD * IN_WIDTH,
    localparam int unsigned OUT_BEAT_W = SIMD * OUT_WIDTH,
    localparam int unsigned IN_TDATA_W = (IN_BEAT_W + 7) / 8 * 8,
    localparam int unsigned OUT_TDATA_W = (OUT_BEAT_W + 7) / 8 * 8
) (
    input  wire logic          clk, rst_n,
    input  wire logic [IN_TDATA_W-1:0] in0_tdata,
    input  wire logic          in0_tvalid,
    output      logic          in0_tready,
    output      logic [OUT_TDATA_W-1:0] out0_tdata,
    output      logic          out0_tvalid,
    input  wire logic          out0_tready
);
    if (FIRST >= TOKENS || ACC_WIDTH < IN_WIDTH || ACC_WIDTH - IN_WIDTH < $clog2(TOKENS - FIRST))
        $error("vp_token_mean: FIRST %0d of TOKENS %0d, sums of %0d bits", FIRST, TOKENS, ACC_WIDTH);
    localparam int unsigned BEAT_W = vp_pkg::width(TOKEN_BEATS);
    localparam int unsigned TOKEN_W = vp_pkg::width(TOKENS);
    localparam int unsigned SUM_W = SIMD * ACC_WIDTH;

    // Cycle 0: a beat leaves the skid register, its sum is read. Cycle 1: added. Then it is requantised.
    logic [IN_BEAT_W-1:0] x, x_q;
    logic [SUM_W-1:0] old, sum, sum_q;
    logic [BEAT_W-1:0] beat_q, beat1_q;
    logic [TOKEN_W-1:0] token_q;
    logic x_valid, add_q, last_q, sum_valid_q, y_valid, can_take;
    logic [OUT_BEAT_W-1:0] y, out_data;
    wire logic take = x_valid && can_take;
    wire logic fresh = token_q == TOKEN_W'(FIRST);
    wire logic last = token_q == TOKEN_W'(TOKENS - 1);
    wire logic used = token_q >= TOKEN_W'(FIRST);

    vp_skid #(.WIDTH(IN_BEAT_W)) skid (
        .clk, .rst_n, .in_data(in0_tdata[IN_BEAT_W-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(can_take)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q  <= '0;
            token_q <= '0;
            add_q   <= 1'b0;
            last_q  <= 1'b0;
            sum_valid_q <= 1'b0;
        end else begin
            add_q   <= take && used;
            last_q  <= take && last;
            sum_valid_q <= last_q;
            if (take) begin
                beat_q <= beat_q == BEAT_W'(TOKEN_BEATS - 1) ? '0 : beat_q + 1'b1;
                if (beat_q == BEAT_W'(TOKEN_BEATS - 1)) token_q <= last ? '0 : token_q + 1'b1;
            end
        end
    end
    always_ff @(posedge clk) begin
        x_q     <= x;
        beat1_q <= beat_q;
        sum_q   <= sum;
    end

    if (TOKEN_BEATS == 1) begin : g_register
        logic [SUM_W-1:0] total_q;
        logic fresh_q;
        always_ff @(posedge clk) begin
            fresh_q <= fresh;
            if (add_q) total_q <= sum;
        end
        assign old = fresh_q ? '0 : total_q;
    end else begin : g_ram
        vp_ram #(.DEPTH(TOKEN_BEATS), .WIDTH(SUM_W), .STYLE(STYLE)) sums (
            .clk, .we(add_q), .waddr(beat1_q), .wdata(sum),
            .re(1'b1), .zero(fresh), .raddr(beat_q), .rdata(old)
        );
    end
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        wire logic signed [IN_WIDTH-1:0] element = x_q[i*IN_WIDTH+:IN_WIDTH];
        assign sum[i*ACC_WIDTH+:ACC_WIDTH] = old[i*ACC_WIDTH+:ACC_WIDTH] + ACC_WIDTH'(element);
    end
    vp_requant #(
        .LANES(SIMD), .ACC_WIDTH(ACC_WIDTH), .MULT_WIDTH(MULT_WIDTH), .SHIFT(SHIFT), .OUT_WIDTH(OUT_WIDTH)
    ) requant (
        .clk, .rst_n, .acc(sum_q), .mult({SIMD{MULT_WIDTH'(MULT)}}), .left(1'b0), .tag(sum_valid_q), .out(y), .out_tag(y_valid)
    );
    vp_credit_fifo #(.WIDTH(OUT_BEAT_W), .DEPTH(16), .STYLE("distributed")) results (
        .clk, .rst_n, .take(take && last), .can_take, .push(y_valid), .push_data(y),
        .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = OUT_TDATA_W'(out_data);
endmodule

`default_nettype wire
