// vp_token_drop at tiny sizes, an element a beat, from its ports alone. Any one frame and one beat of its tokens
// is followed: the harness keeps all its scores and that beat of all its tokens, says by itself which tokens stay
// (fewer than KEEP larger scores, the lower index wins ties) and what the fused one is. Scores of a frame
// sum to at most LIMIT, as the unit may count on. STEADY: sources and sink never pause.
`default_nettype none

module proof_token_drop #(
    int unsigned TOKENS      = 4,
    int unsigned BEATS       = 1,
    int unsigned KEEP        = 1,
    int unsigned SCORE_WIDTH = 4,
    int unsigned RANK_WIDTH  = 4,
    int unsigned DROP_WIDTH  = 3,
    int unsigned ACC_WIDTH   = 19,
    int unsigned SHIFT       = 3,
    bit          TIES        = 1'b1,
    int unsigned LEVELS      = 0,
    int unsigned DIGITS      = 0,
    int unsigned LIMIT       = 8,
    int unsigned X_BITS      = 16,   // elements are signed numbers of so many bits
    bit          STEADY      = 1'b0
) (
    input wire logic        clk,
    input wire logic        rst_n,
    input wire logic        pick_frame,
    input wire logic [1:0]  pick_beat,
    input wire logic [15:0] in0_tdata,
    input wire logic        in0_tvalid,
    input wire logic [7:0]  in1_tdata,
    input wire logic        in1_tvalid,
    input wire logic        out0_tready
);
    localparam int unsigned OUT_TOKENS = KEEP + 2;
    localparam bit DROPPED = TOKENS - 1 - KEEP < KEEP;
    localparam int unsigned TW = $clog2(TOKENS + 1);
    localparam int unsigned BW = $clog2(BEATS + 1);
    localparam int unsigned SUM = SCORE_WIDTH + TW;
    logic in0_tready, in1_tready, out0_tvalid, started_q = 1'b0;
    logic [15:0] out0_tdata;
    always_ff @(posedge clk) started_q <= 1'b1;
    always_comb a_reset : assume (rst_n == started_q);

    vp_token_drop #(
        .TOKENS(TOKENS), .D(BEATS), .SIMD(1), .CELLS(DROPPED ? TOKENS - 1 - KEEP : KEEP), .SCORE_WIDTH(SCORE_WIDTH), .RANK_WIDTH(RANK_WIDTH),
        .DROP_WIDTH(DROP_WIDTH), .ACC_WIDTH(ACC_WIDTH), .MULT_WIDTH(1), .SHIFT(SHIFT), .TIES(TIES),
        .FUSE_LANES(1), .LEVELS(LEVELS), .DIGITS(DIGITS),
        .SHAPES({32'(TOKENS - 2), 32'(KEEP - 1), 32'd0, 32'(DROPPED), 32'd0, 32'd1})
    ) dut (.load_in('0), .load_out(), .*);

    // --- environment ---
    proof_hold #(.WIDTH(16), .ASSUME(1'b1)) source_x (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source_s (
        .clk, .rst_n, .data(in1_tdata), .valid(in1_tvalid), .ready(in1_tready)
    );
    if (X_BITS < 16) begin : g_small
        always_comb a_small : assume (in0_tdata[15:X_BITS] == {(16 - X_BITS) {in0_tdata[X_BITS-1]}});
    end
    if (STEADY) begin : g_steady
        always_comb if (rst_n) a_steady : assume (in0_tvalid && in1_tvalid && out0_tready);
    end

    // --- where the streams stand: beat and token of the next transfer, and frames before the output's ---
    wire logic take_x = in0_tvalid && in0_tready;
    wire logic take_s = in1_tvalid && in1_tready;
    wire logic pop = out0_tvalid && out0_tready;
    logic [BW-1:0] x_beat_q, x_beat, beat_q, beat;
    logic [TW-1:0] x_token_q, x_token, s_token_q, s_token, token_q, token;
    logic [2:0] x_frames_q, x_frames, s_frames_q, s_frames;
    wire logic x_end = take_x && x_beat_q == BW'(BEATS - 1);
    wire logic x_last = x_end && x_token_q == TW'(TOKENS - 1);
    wire logic s_last = take_s && s_token_q == TW'(TOKENS - 1);
    wire logic pop_end = pop && beat_q == BW'(BEATS - 1);
    wire logic is_fused = token_q == TW'(OUT_TOKENS - 1);
    wire logic pop_last = pop_end && is_fused;
    always_comb begin
        x_beat   = x_end ? '0 : x_beat_q + BW'(take_x);
        x_token  = x_last ? '0 : x_token_q + TW'(x_end);
        s_token  = s_last ? '0 : s_token_q + TW'(take_s);
        beat     = pop_end ? '0 : beat_q + BW'(pop);
        token    = pop_last ? '0 : token_q + TW'(pop_end);
        x_frames = x_frames_q + 3'(x_last) - 3'(pop_last);
        s_frames = s_frames_q + 3'(s_last) - 3'(pop_last);
        if (!rst_n) {x_beat, x_token, s_token, beat, token, x_frames, s_frames} = '0;
    end
    always_ff @(posedge clk) begin
        {x_beat_q, x_token_q, s_token_q} <= {x_beat, x_token, s_token};
        {beat_q, token_q, x_frames_q, s_frames_q} <= {beat, token, x_frames, s_frames};
    end

    // The scores' contract; the first token's score does not count.
    logic [SUM-1:0] total_q;
    wire logic [SCORE_WIDTH-1:0] score = in1_tdata[SCORE_WIDTH-1:0];
    wire logic [SUM-1:0] total = s_token_q == '0 ? '0 : total_q + SUM'(score);
    always_ff @(posedge clk) if (take_s) total_q <= total;
    always_comb if (rst_n && in1_tvalid) a_limit : assume (total <= SUM'(LIMIT));

    // --- the frame that is followed: ahead_q frames are before it at the output. The choice is free as long as
    // neither of its inputs has begun. ---
    logic [2:0] ahead_q;
    logic [BW-1:0] watch_q;
    logic [TOKENS-1:0][15:0] x_q;
    logic [TOKENS-1:0][SCORE_WIDTH-1:0] s_q;
    wire logic [2:0] x_next = x_frames + 3'(x_token != '0 || x_beat != '0);  // first frame not begun
    wire logic [2:0] s_next = s_frames + 3'(s_token != '0);
    wire logic [2:0] next = x_next > s_next ? x_next : s_next;
    wire logic [2:0] ahead = ahead_q - 3'(pop_last);
    wire logic begun = !(pop_last && ahead_q == '0) && (ahead < x_next || ahead < s_next);
    always_ff @(posedge clk) begin
        if (rst_n && begun) begin
            ahead_q <= ahead;
        end else begin
            ahead_q <= next + 3'(pick_frame);
            watch_q <= BW'(pick_beat);
        end
    end
    for (genvar i = 0; i < TOKENS; i++) begin : g_token
        always_ff @(posedge clk) begin
            if (take_x && x_frames_q == ahead_q && x_token_q == TW'(i) && x_beat_q == watch_q) begin
                x_q[i] <= in0_tdata;
            end
            if (take_s && s_frames_q == ahead_q && s_token_q == TW'(i)) s_q[i] <= score;
        end
    end

    // Which tokens stay, what comes out as tokens 0 to KEEP, and the fused one.
    logic [TOKENS-1:0] keep;
    logic [TOKENS-1:0][TW-1:0] larger;  // scores that come before
    logic [TOKENS:0][TW-1:0] place;
    logic [15:0] kept;
    logic signed [31:0] sum;
    always_comb begin
        kept = '0;
        sum = '0;
        place[0] = '0;
        for (int unsigned i = 0; i < TOKENS; i++) begin
            larger[i] = '0;
            for (int unsigned j = 1; j < TOKENS; j++) begin
                if (s_q[j] > s_q[i] || (s_q[j] == s_q[i] && j < i)) larger[i] = larger[i] + 1'b1;
            end
            keep[i] = i == 0 || larger[i] < TW'(KEEP);
            place[i+1] = place[i] + TW'(keep[i]);
            if (keep[i] && place[i] == token_q) kept = x_q[i];
            if (!keep[i]) sum = sum + $signed({1'b0, s_q[i]}) * $signed(x_q[i]);
        end
    end
    wire logic signed [31:0] floor = sum >>> SHIFT;
    wire logic [SHIFT-1:0] rest = sum[SHIFT-1:0];
    wire logic half = rest == {1'b1, {(SHIFT - 1) {1'b0}}};
    wire logic up = rest[SHIFT-1] && (!half || floor[0]);
    wire logic [15:0] fused = floor[15:0] + 16'(up);

    // --- what is proved ---
    proof_hold #(.WIDTH(16)) hold (
        .clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready)
    );
    wire logic watched = out0_tvalid && ahead_q == '0 && beat_q == watch_q;
    wire logic there = x_frames_q != '0 || (!is_fused
        && (x_token_q > token_q || (x_token_q == token_q && x_beat_q > beat_q)));
    always_comb begin
        if (rst_n) begin
            p_kept : assert (!(watched && !is_fused) || out0_tdata == kept);
            p_fused : assert (!(watched && is_fused) || out0_tdata == fused);
            // Nothing comes before its input: not the beat of a kept token, nor the fused token.
            p_invent : assert (!out0_tvalid || there);
            // The unit holds what the FIFO at its output does, and scores of two frames more.
            p_lose : assert (x_frames_q <= 3'd4 && s_frames_q <= 3'd7 && s_frames_q >= x_frames_q);
            c_fused : cover (watched && is_fused && pop && fused != '0);
        end
    end
endmodule

`default_nettype wire
