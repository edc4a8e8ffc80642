// Sums of the fused token: sum_d = sum over the dropped tokens of score * x_d, SIMD lanes, in a RAM of
// BEATS words. A beat is announced in cycle -1 (beat, score, fresh: no token of this frame was dropped
// yet, so its sum starts at 0) and follows in cycle 0 (x, drop: it belongs to a dropped token). The word
// announced is read whatever follows, in READ cycles: its lower LOW bits a lane are on low in cycle READ - 1, the
// others on high in cycle READ + 3. A beat may be announced again READ + 3 cycles after it was.
`default_nettype none

module vp_token_drop_fuse #(
    int unsigned BEATS       = 12,
    int unsigned SIMD        = 4,
    int unsigned SCORE_WIDTH = 12,
    int unsigned ACC_WIDTH   = 34,
    int unsigned LOW         = 12,
    parameter    STYLE       = "block",
    int unsigned READ        = 3,  // 3 for block RAM, whose words pass its output register and another one
    localparam int unsigned HIGH = ACC_WIDTH - LOW,
    localparam int unsigned BEAT_W   = vp_pkg::width(BEATS)
) (
    input  wire logic                   clk, rst_n,
    input  wire logic [BEAT_W-1:0]      beat,
    input  wire logic [SCORE_WIDTH-1:0] score,
    input  wire logic                   fresh,
    input  wire logic [SIMD*16-1:0]     x,
    input  wire logic                   drop,
    output      logic [SIMD*LOW-1:0]    low,
    output      logic [SIMD*HIGH-1:0]   high
);
    localparam int unsigned ROW_W = SCORE_WIDTH + 2;

    // Index i of these holds what cycle i - 1 saw. Words are written after READ + 2 cycles, their upper parts two later.
    localparam int unsigned LOW_DONE = READ + 1, HIGH_DONE = READ + 3;
    logic [BEAT_W-1:0] beat_q[1:HIGH_DONE+1];
    logic [4:1] fresh_q;
    logic [HIGH_DONE:1] drop_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            for (int unsigned i = 1; i <= HIGH_DONE + 1; i++) beat_q[i] <= '0;
            fresh_q <= '0;
            drop_q  <= '0;
        end else begin
            beat_q[1] <= beat;
            for (int unsigned i = 2; i <= HIGH_DONE + 1; i++) beat_q[i] <= beat_q[i-1];
            fresh_q <= {fresh_q[3:1], fresh};
            drop_q  <= {drop_q[HIGH_DONE-1:1], drop};
        end
    end

    // x and score wait for the word; index 0 of once and thrice is what the lanes' first cycle sees.
    logic [SIMD*16-1:0] x_then;
    logic [SCORE_WIDTH-1:0] score_then;
    logic [4*SCORE_WIDTH-1:0] once_q;
    logic [4*ROW_W-1:0] thrice_q;
    vp_delay #(.WIDTH(SIMD * 16 + SCORE_WIDTH), .LENGTH(READ - 1)) later (
        .clk, .rst_n, .in({x, score}), .out({x_then, score_then})
    );
    always_ff @(posedge clk) begin
        once_q   <= {once_q[3*SCORE_WIDTH-1:0], score_then};
        thrice_q <= {thrice_q[3*ROW_W-1:0], ROW_W'(score_then) + ROW_W'({score_then, 1'b0})};
    end

    logic [SIMD*LOW-1:0] sum_low;
    logic [SIMD*HIGH-1:0] sum_high;
    vp_ram #(.DEPTH(BEATS), .WIDTH(SIMD * LOW), .STYLE(STYLE), .READ_LATENCY(READ)) sums_low (
        .clk, .we(drop_q[LOW_DONE]), .waddr(beat_q[LOW_DONE+1]), .wdata(sum_low),
        .re('1), .zero(fresh), .raddr(beat), .rdata(low)
    );
    vp_ram #(.DEPTH(BEATS), .WIDTH(SIMD * HIGH), .STYLE(STYLE), .READ_LATENCY(READ)) sums_high (
        .clk, .we(drop_q[HIGH_DONE]), .waddr(beat_q[HIGH_DONE+1]), .wdata(sum_high),
        .re('1), .zero(fresh_q[4]), .raddr(beat_q[4]), .rdata(high)
    );
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        vp_token_drop_lane #(.SCORE_WIDTH(SCORE_WIDTH), .ACC_WIDTH(ACC_WIDTH), .LOW(LOW)) lane (
            .clk, .rst_n, .x(x_then[i*16+:16]), .once(once_q), .thrice(thrice_q),
            .old_low(low[i*LOW+:LOW]), .sum_low(sum_low[i*LOW+:LOW]),
            .old_high(high[i*HIGH+:HIGH]), .sum_high(sum_high[i*HIGH+:HIGH])
        );
    end
endmodule

`default_nettype wire
