// Token drop without a frame buffer: of N tokens, at most TOKENS, the first PREFIX (class token, registers) and the k
// others of highest score pass in order, then follows one token fused of the rest. N tokens a frame go in,
// PREFIX + k + 1 come out. Kept and dropped tokens take a cycle a beat; while the fused token leaves, FUSE_LANES
// elements a cycle, no token is taken. So a frame takes as long whichever tokens are kept:
// N * D / SIMD + D / FUSE_LANES cycles and a few. What is taken runs to its end without an enable: a beat
// enters when the FIFO at the output has a place for it. Where nothing is dropped, tokens pass unchanged and
// scores are taken and ignored.
// SHAPES says how many tokens there are, which are dropped, and the constant of the fused token (shape_t). Loaded numbers
// stand still while frames are inside, and the unit is in reset until they are there.
`default_nettype none

module vp_token_drop #(
    int unsigned TOKENS      = 17,
    int unsigned PREFIX      = 1,
    int unsigned D           = 48,
    int unsigned SIMD        = 4,
    int unsigned CELLS       = 8,    // of a ranking by insertion
    int unsigned SCORE_WIDTH = 18,   // of the stream
    int unsigned RANK_WIDTH  = 15,   // of scores that may be the k-th largest
    int unsigned DROP_WIDTH  = 14,   // of scores that may be dropped
    int unsigned ACC_WIDTH   = 32,
    int unsigned MULT_WIDTH  = 1,
    int unsigned SHIFT       = 17,
    bit          TIES        = 1'b1,
    int unsigned FUSE_LANES  = 2,
    int unsigned LEVELS      = 0,
    int unsigned DIGITS      = 0,
    parameter    SUMS_STYLE  = "distributed",
    parameter    SCORE_STYLE = "distributed",
    parameter logic [191:0] SHAPES = {32'(TOKENS - 2), 32'(CELLS - 1), 128'd1},  // see shape_t
    bit          LOADED      = 1'b0,  // it comes through the load chain
    parameter    UNIT        = "",    // of a file from which simulations fill it
    localparam int unsigned SCORE_BITS = (SCORE_WIDTH + 7) / 8 * 8
) (
    input  wire logic                  clk, rst_n,
    input  wire logic [SIMD*16-1:0]    in0_tdata,
    input  wire logic                  in0_tvalid,
    output      logic                  in0_tready,
    input  wire logic [SCORE_BITS-1:0] in1_tdata,
    input  wire logic                  in1_tvalid,
    output      logic                  in1_tready,
    output      logic [SIMD*16-1:0]    out0_tdata,
    output      logic                  out0_tvalid,
    input  wire logic                  out0_tready,
    input  wire logic [33:0]           load_in,
    output      logic [33:0]           load_out
);
    typedef struct packed {
        logic [31:0] before_last;  // index of the token before the last one
        logic [31:0] keep;         // k - 1
        logic [31:0] pads;         // cells that are too many
        logic [31:0] invert;       // the dropped scores are ranked, being fewer
        logic [31:0] all;          // nothing is dropped
        logic [31:0] mult;
    } shape_t;
    if (PREFIX < 1 || PREFIX >= TOKENS) $error("vp_token_drop: PREFIX %0d must be 1 to less than TOKENS %0d", PREFIX, TOKENS);
    if (SIMD < 1 || D % SIMD != 0 || (!LOADED && SHAPES[191:160] + 2 != TOKENS))
        $error("vp_token_drop: TOKENS %0d, D %0d or SIMD %0d out of range", TOKENS, D, SIMD);

    shape_t shape, data;
    logic we, filled;
    vp_load_region #(.LOADED(LOADED), .DEPTH(1), .WIDTH($bits(shape_t))) region (
        .clk, .rst_n, .load_in, .load_out, .we, .waddr(), .data, .filled
    );
    logic run_n;  // a reset, which lasts until the numbers are there
    if (LOADED) begin : g_loaded
        logic [$bits(shape_t)-1:0] mem[1];
        logic known_q;
        always @(posedge clk) if (we) mem[0] <= data;  // no always_ff: a simulation fills mem, too
        always_ff @(posedge clk) known_q <= filled;
        assign shape = mem[0];
        assign run_n = rst_n && known_q;
`ifndef SYNTHESIS
        initial if ($test$plusargs("fill") != 0) $readmemh({UNIT, "_shapes.fill"}, mem);
`endif
    end else begin : g_built_in
        assign shape = SHAPES;
        assign run_n = rst_n;
    end

    if (!LOADED && SHAPES[63:32] != '0) begin : g_all
        vp_skid #(.WIDTH(SIMD * 16)) skid (
            .clk, .rst_n, .in_data(in0_tdata), .in_valid(in0_tvalid), .in_ready(in0_tready),
            .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
        always_ff @(posedge clk) in1_tready <= rst_n;
    end else begin : g_drop
        localparam int unsigned COUNT_W = $clog2(TOKENS), CELL_W = $clog2(CELLS + 1);
        localparam int unsigned BEATS = D / SIMD;
        localparam int unsigned BEAT_W = vp_pkg::width(BEATS);
        localparam int unsigned GROUPS = SIMD / FUSE_LANES;
        localparam int unsigned GROUP_W = vp_pkg::width(GROUPS);
        localparam int unsigned LOW = DROP_WIDTH < 12 ? DROP_WIDTH : 12;
        localparam int unsigned HIGH = ACC_WIDTH - LOW;
        // A sum is read in READ cycles, and may be read again AGAIN cycles after it was read to be changed.
        localparam int unsigned READ = SUMS_STYLE == "block" ? 3 : 1;
        localparam int unsigned AGAIN = READ + 3;
        localparam int unsigned PACE = SCORE_STYLE == "block" ? 4 : 2;  // cycles from decision to decision
        localparam int unsigned ROWS = LOADED ? (ACC_WIDTH + 1) / 2 : (ACC_WIDTH + 4) / 5;
        // At most, of a beat that is asked for.
        localparam int unsigned FUSE_LATENCY = READ + (ROWS + 1) / 2 + 7 + GROUPS + (LOADED ? 1 : 0);
        localparam int unsigned PLACES = FUSE_LATENCY / GROUPS + 4;

        logic [DROP_WIDTH-1:0] score;
        logic known, keep, last_token;
        logic end_token;
        vp_token_drop_rank #(
            .COUNT(TOKENS - PREFIX), .PREFIX(PREFIX), .CELLS(CELLS), .PADDED(LOADED), .SCORE_WIDTH(SCORE_WIDTH), .RANK_WIDTH(RANK_WIDTH),
            .DROP_WIDTH(DROP_WIDTH), .LEVELS(LEVELS), .DIGITS(DIGITS), .STYLE(SCORE_STYLE)
        ) rank (
            .clk, .rst_n(run_n), .before_last(COUNT_W'(shape.before_last)), .keep(COUNT_W'(shape.keep)),
            .pads(CELL_W'(shape.pads)), .invert(shape.invert[0]), .all(shape.all[0]),
            .in_score(in1_tdata[SCORE_WIDTH-1:0]), .in_valid(in1_tvalid), .in_ready(in1_tready),
            .out_score(score), .out_keep(keep), .out_last(last_token), .out_valid(known), .out_ready(end_token)
        );

        // One register for every beat: what is kept or fused goes on to the FIFO, what is dropped to the sums.
        // Before it a spare register, so that in0_tready comes from a register. No decision is known in the cycle
        // after a reset, in which in0_tready is low.
        logic [SIMD*16-1:0] x_q, spare_q, fused;
        (* keep *) logic use_spare_q;  // spare_full_q, for the many bits of x_q alone
        logic spare_full_q, in_ready_q, pass_q, drop_q, emit_q, wait_q, can_take, fused_valid, fused_last;
        wire logic take = (spare_full_q || in0_tvalid) && known && can_take && !emit_q && !wait_q;
        wire logic left = (spare_full_q || (in0_tvalid && in_ready_q)) && !take;
        always_ff @(posedge clk) begin
            if (!run_n) begin
                spare_full_q <= 1'b0;
                in_ready_q   <= 1'b0;
                pass_q       <= 1'b0;
                drop_q       <= 1'b0;
            end else begin
                spare_full_q <= left;
                in_ready_q   <= !left;
                pass_q       <= (take && keep) || fused_valid;
                drop_q       <= take && !keep;
            end
        end
        always_ff @(posedge clk) begin
            use_spare_q <= left;
            x_q <= fused_valid ? fused : use_spare_q ? spare_q : in0_tdata;
            if (in_ready_q) spare_q <= in0_tdata;
        end
        assign in0_tready = in_ready_q;

        // Beats of a token that passes, and words of sums that are asked for.
        logic [BEAT_W-1:0] beat_q;
        logic [GROUP_W-1:0] group_q;
        logic last_beat, ask_q, fresh_q, first_group_q;
        wire logic last_group = group_q == GROUP_W'(GROUPS - 1);
        wire logic ask = ask_q && !wait_q && (can_take || !first_group_q);
        wire logic last_ask = last_beat && last_group;
        wire logic step = take || (ask && last_group);
        assign end_token = take && last_beat;
        if (BEATS == 1) begin : g_one_beat
            assign last_beat = 1'b1;
        end else begin : g_beats
            logic last_beat_q;
            always_ff @(posedge clk) begin
                if (!run_n) last_beat_q <= 1'b0;
                else if (step) last_beat_q <= beat_q == BEAT_W'(BEATS - 2) && !last_beat_q;
            end
            assign last_beat = last_beat_q;
        end
        always_ff @(posedge clk) begin
            if (!run_n) begin
                beat_q  <= '0;
                group_q <= '0;
                first_group_q <= 1'b1;
                emit_q  <= 1'b0;
                ask_q   <= 1'b0;
                fresh_q <= 1'b1;
            end else begin
                if (step) beat_q <= last_beat ? '0 : beat_q + 1'b1;
                if (ask) group_q <= last_group ? '0 : group_q + 1'b1;
                if (ask) first_group_q <= last_group;
                if (end_token && last_token && !shape.all[0]) emit_q <= 1'b1;
                else if (fused_last) emit_q <= 1'b0;
                if (end_token && last_token && !shape.all[0]) ask_q <= 1'b1;
                else if (ask && last_ask) ask_q <= 1'b0;
                if (end_token && !keep) fresh_q <= 1'b0;
                else if (fused_last) fresh_q <= 1'b1;
            end
        end
        // A token that is kept takes PACE cycles, one that is dropped AGAIN: shorter ones wait.
        if (BEATS < AGAIN) begin : g_wait
            localparam int unsigned KEPT = BEATS < PACE ? PACE - BEATS : 0, DROPPED = AGAIN - BEATS;
            logic [AGAIN-2:0] left_q;  // ones, as many as cycles to wait
            always_ff @(posedge clk) begin
                if (!run_n) left_q <= '0;
                else if (end_token) left_q <= '1 >> (AGAIN - 1 - (keep ? KEPT : DROPPED));
                else left_q <= left_q >> 1;
            end
            assign wait_q = left_q[0];
        end else begin : g_no_wait
            assign wait_q = 1'b0;
        end

        logic [SIMD*LOW-1:0] low;
        logic [SIMD*HIGH-1:0] high;
        vp_token_drop_fuse #(
            .BEATS(BEATS), .SIMD(SIMD), .SCORE_WIDTH(DROP_WIDTH), .ACC_WIDTH(ACC_WIDTH), .LOW(LOW),
            .STYLE(SUMS_STYLE), .READ(READ)
        ) fuse (
            .clk, .rst_n(run_n), .beat(beat_q), .score, .fresh(fresh_q), .x(x_q), .drop(drop_q), .low, .high
        );
        vp_token_drop_requant #(
            .SIMD(SIMD), .LANES(FUSE_LANES), .ACC_WIDTH(ACC_WIDTH), .LOW(LOW),
            .MULT_WIDTH(MULT_WIDTH), .SHIFT(SHIFT), .TIES(TIES), .READ(READ), .LOADED(LOADED)
        ) requant (
            .clk, .rst_n(run_n), .mult(MULT_WIDTH'(shape.mult)), .valid(ask), .last(last_ask), .group(group_q), .low, .high,
            .out_data(fused), .out_valid(fused_valid), .out_last(fused_last)
        );
        vp_credit_fifo #(.WIDTH(SIMD * 16), .DEPTH(PLACES)) out (
            .clk, .rst_n(run_n), .take((take && keep) || (ask && first_group_q)), .can_take, .push(pass_q), .push_data(x_q),
            .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
    end
endmodule

`default_nettype wire
