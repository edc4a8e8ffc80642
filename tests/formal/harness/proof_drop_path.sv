// vp_token_drop without its ranker: whatever tokens it is told to keep, it passes these and no other beats, in
// order and unchanged, and ends every frame with the beats of one fused token. The ranker's place takes a register that
// any decisions reach over the score stream, KEEP + 1 of a frame's tokens and the first among them, and which offers
// and waits as proof_drop_rank proves of vp_token_drop_rank. Any one frame and one beat of its tokens is
// followed: its decisions are fixed before it begins. What the fused token holds is not looked at.
`default_nettype none

module proof_drop_path #(
    int unsigned TOKENS = 3,
    int unsigned BEATS  = 2,
    int unsigned KEEP   = 1,
    int unsigned BITS   = 1,   // lower bits of the elements that are looked at
    int unsigned WAIT   = 24   // cycles from the last input to an output
) (
    input wire logic              clk,
    input wire logic              rst_n,
    input wire logic              pick_frame,
    input wire logic [1:0]        pick_beat,
    input wire logic [TOKENS-1:0] pick_keep,
    input wire logic [15:0]       in0_tdata,
    input wire logic              in0_tvalid,
    input wire logic [7:0]        in1_tdata,   // {last, keep}
    input wire logic              in1_tvalid,
    input wire logic              out0_tready
);
    localparam int unsigned OUT_TOKENS = KEEP + 2;
    localparam int unsigned TW = $clog2(TOKENS + 1);
    localparam int unsigned BW = $clog2(BEATS + 1);
    logic in0_tready, in1_tready, out0_tvalid;
    logic [15:0] out0_tdata;
    vp_token_drop #(
        .TOKENS(TOKENS), .D(BEATS), .SIMD(1), .CELLS(1), .SCORE_WIDTH(3), .RANK_WIDTH(3), .DROP_WIDTH(3),
        .ACC_WIDTH(19), .MULT_WIDTH(1), .SHIFT(3), .FUSE_LANES(1),
        .SHAPES({32'(TOKENS - 2), 32'(KEEP - 1), 96'd0, 32'd1})
    ) dut (.load_in('0), .load_out(), .*);
    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(16), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );

    // Where the streams stand: beat and token of the next transfer, and frames before the output's.
    wire logic take_x = in0_tvalid && in0_tready;
    wire logic take_d = in1_tvalid && in1_tready;
    wire logic pop = out0_tvalid && out0_tready;
    logic [BW-1:0] x_beat_q, x_beat, beat_q, beat;
    logic [TW-1:0] x_token_q, x_token, d_token_q, d_token, d_kept_q, d_kept, token_q, token;
    logic [2:0] x_frames_q, x_frames, d_frames_q, d_frames;
    wire logic x_end = take_x && x_beat_q == BW'(BEATS - 1);
    wire logic x_last = x_end && x_token_q == TW'(TOKENS - 1);
    wire logic d_last = take_d && d_token_q == TW'(TOKENS - 1);
    wire logic pop_end = pop && beat_q == BW'(BEATS - 1);
    wire logic is_fused = token_q == TW'(OUT_TOKENS - 1);
    wire logic pop_last = pop_end && is_fused;
    always_comb begin
        x_beat   = x_end ? '0 : x_beat_q + BW'(take_x);
        x_token  = x_last ? '0 : x_token_q + TW'(x_end);
        d_token  = d_last ? '0 : d_token_q + TW'(take_d);
        d_kept   = d_last ? '0 : d_kept_q + TW'(take_d && in1_tdata[0]);
        beat     = pop_end ? '0 : beat_q + BW'(pop);
        token    = pop_last ? '0 : token_q + TW'(pop_end);
        x_frames = x_frames_q + 3'(x_last) - 3'(pop_last);
        d_frames = d_frames_q + 3'(d_last) - 3'(pop_last);
        if (!rst_n) {x_beat, x_token, d_token, d_kept, beat, token, x_frames, d_frames} = '0;
    end
    always_ff @(posedge clk) begin
        {x_beat_q, x_token_q, d_token_q, d_kept_q} <= {x_beat, x_token, d_token, d_kept};
        {beat_q, token_q, x_frames_q, d_frames_q} <= {beat, token, x_frames, d_frames};
    end

    // The followed frame: ahead_q frames are before it at the output.
    logic [2:0] ahead_q;
    logic [BW-1:0] watch_q;
    logic [TOKENS-1:0] keep_q;
    logic [TOKENS-1:0][BITS-1:0] x_q;
    wire logic [2:0] x_next = x_frames + 3'(x_token != '0 || x_beat != '0);  // first frame not begun
    wire logic [2:0] d_next = d_frames + 3'(d_token != '0);
    wire logic [2:0] next = x_next > d_next ? x_next : d_next;
    wire logic [2:0] ahead = ahead_q - 3'(pop_last);
    wire logic begun = !(pop_last && ahead_q == '0) && (ahead < x_next || ahead < d_next);
    logic [TW-1:0] picked;
    always_comb begin
        picked = '0;
        for (int unsigned i = 0; i < TOKENS; i++) picked = picked + TW'(pick_keep[i]);
        a_pick : assume (pick_keep[0] && picked == TW'(KEEP + 1) && pick_beat < 2'(BEATS));
    end
    always_ff @(posedge clk) begin
        if (rst_n && begun) begin
            ahead_q <= ahead;
        end else begin
            ahead_q <= next + 3'(pick_frame);
            watch_q <= BW'(pick_beat);
            keep_q  <= pick_keep;
        end
    end
    for (genvar i = 0; i < TOKENS; i++) begin : g_token
        always_ff @(posedge clk) begin
            if (take_x && x_frames_q == ahead_q && x_token_q == TW'(i) && x_beat_q == watch_q) begin
                x_q[i] <= in0_tdata[BITS-1:0];
            end
        end
    end

    // Decisions: KEEP + 1 a frame, the first one among them, as fixed for the followed frame.
    wire logic [TW-1:0] kept_then = d_kept_q + TW'(in1_tdata[0]);
    always_comb begin
        if (rst_n && in1_tvalid) begin
            a_last : assume (in1_tdata[1] == (d_token_q == TW'(TOKENS - 1)));
            a_first : assume (in1_tdata[0] || d_token_q != '0);
            a_most : assume (kept_then <= TW'(KEEP + 1));
            a_least : assume (kept_then + TW'(TOKENS - 1) - d_token_q >= TW'(KEEP + 1));
            a_fixed : assume (d_frames_q != ahead_q || in1_tdata[0] == keep_q[d_token_q]);
        end
    end

    logic [TOKENS:0][TW-1:0] place;
    logic [BITS-1:0] kept;
    always_comb begin
        kept = '0;
        place[0] = '0;
        for (int unsigned i = 0; i < TOKENS; i++) begin
            place[i+1] = place[i] + TW'(keep_q[i]);
            if (keep_q[i] && place[i] == token_q) kept = x_q[i];
        end
    end

    // --- what is proved ---
    proof_hold #(.WIDTH(BITS)) hold (
        .clk, .rst_n, .data(out0_tdata[BITS-1:0]), .valid(out0_tvalid), .ready(out0_tready)
    );
    wire logic watched = out0_tvalid && ahead_q == '0 && beat_q == watch_q;
    wire logic there = x_frames_q != '0 || (!is_fused
        && (x_token_q > token_q || (x_token_q == token_q && x_beat_q > beat_q)));
    always_comb begin
        if (rst_n) begin
            p_kept : assert (!(watched && !is_fused) || out0_tdata[BITS-1:0] == kept);
            p_invent : assert (!out0_tvalid || there);
            p_lose : assert (x_frames_q <= 3'd5 && d_frames_q <= 3'd6);
            c_kept : cover (watched && !is_fused && pop && token_q == TW'(KEEP));
            c_fused : cover (pop_last && {x_token_q, x_beat_q} != '0);
        end
    end
    proof_progress #(.LIMIT(WAIT), .TIGHT(1'b0)) ends (
        .clk, .rst_n, .want(out0_tready && in1_tvalid && (x_frames_q != '0 || in0_tvalid)),
        .done(out0_tvalid || take_x)
    );
endmodule

// In the place of the ranker.
module vp_token_drop_rank #(
    int unsigned COUNT       = 16,
    int unsigned PREFIX      = 1,
    int unsigned CELLS       = 4,
    bit          PADDED      = 1'b0,
    int unsigned SCORE_WIDTH = 17,
    int unsigned RANK_WIDTH  = 15,
    int unsigned DROP_WIDTH  = 14,
    int unsigned LEVELS      = 0,
    int unsigned DIGITS      = 0,
    parameter    STYLE       = "distributed"
) (
    input  wire logic                   clk,
    input  wire logic                   rst_n,
    input  wire logic [$clog2(COUNT + PREFIX)-1:0] before_last,
    input  wire logic [$clog2(COUNT + PREFIX)-1:0] keep,
    input  wire logic                   invert,
    input  wire logic [$clog2(CELLS + 1)-1:0] pads,
    input  wire logic                   all,
    input  wire logic [SCORE_WIDTH-1:0] in_score,
    input  wire logic                   in_valid,
    output      logic                   in_ready,
    output      logic [DROP_WIDTH-1:0]  out_score,
    output      logic                   out_keep,
    output      logic                   out_last,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
    assign in_ready = !out_valid || out_ready;
    always_ff @(posedge clk) begin
        if (!rst_n) out_valid <= 1'b0;
        else if (in_ready) out_valid <= in_valid;
        else if (out_ready) out_valid <= 1'b0;
        if (in_ready) {out_last, out_keep} <= in_score[1:0];
    end
    assign out_score = '0;
endmodule

`default_nettype wire
