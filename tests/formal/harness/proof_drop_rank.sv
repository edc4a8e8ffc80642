// vp_token_drop_rank: the decisions of every frame are right, in order, one a token. Any one frame is followed: the
// harness keeps all its scores and says by itself which tokens stay (the first, and those with fewer than KEEP
// larger scores before them, the lower index wins ties). The ready of a decision comes as it likes.
`default_nettype none

module proof_drop_rank #(
    int unsigned COUNT      = 3,
    int unsigned KEEP       = 1,
    int unsigned PADS       = 0,   // cells that are too many
    int unsigned BITS       = 2,   // of a score
    int unsigned RANK_BITS  = 2,
    int unsigned DROP_BITS  = 2,
    int unsigned LIMIT      = 3,   // what the scores of a frame sum to at most
    int unsigned LEVELS     = 0,
    int unsigned DIGITS     = 0,
    int unsigned WAIT       = 10   // cycles to a decision once the scores are there, or to a score taken
) (
    input wire logic            clk,
    input wire logic            rst_n,
    input wire logic            pick,
    input wire logic [BITS-1:0] in_score,
    input wire logic            in_valid,
    input wire logic            out_ready
);
    localparam int unsigned TW = $clog2(COUNT + 1);
    localparam bit DROPPED = COUNT - KEEP < KEEP;
    localparam int unsigned CELLS = (DROPPED ? COUNT - KEEP : KEEP) + PADS;
    localparam int unsigned SUM = BITS + TW;
    logic in_ready, out_keep, out_last, out_valid;
    logic [DROP_BITS-1:0] out_score;
    vp_token_drop_rank #(
        .COUNT(COUNT), .CELLS(CELLS), .PADDED(PADS != 0), .SCORE_WIDTH(BITS), .RANK_WIDTH(RANK_BITS), .DROP_WIDTH(DROP_BITS),
        .LEVELS(LEVELS), .DIGITS(DIGITS)
    ) dut (
        .before_last(TW'(COUNT - 1)), .keep(TW'(KEEP - 1)), .pads($clog2(CELLS + 1)'(PADS)), .invert(DROPPED), .all(1'b0), .*
    );
    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(BITS), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in_score), .valid(in_valid), .ready(in_ready)
    );

    // Where both sides stand: the next token, and frames that are in and not yet out.
    wire logic push = in_valid && in_ready;
    wire logic pop = out_valid && out_ready;
    logic [TW-1:0] in_q, token_q;
    logic [2:0] frames_q;
    wire logic in_last = push && in_q == TW'(COUNT);
    wire logic pop_last = pop && token_q == TW'(COUNT);
    wire logic [2:0] frames = frames_q + 3'(in_last) - 3'(pop_last);
    always_ff @(posedge clk) begin
        in_q     <= !rst_n || in_last ? '0 : in_q + TW'(push);
        token_q  <= !rst_n || pop_last ? '0 : token_q + TW'(pop);
        frames_q <= rst_n ? frames : '0;
    end

    // The scores' contract; the first token's score does not count.
    logic [SUM-1:0] total_q;
    wire logic [SUM-1:0] total = in_q == '0 ? '0 : total_q + SUM'(in_score);
    always_ff @(posedge clk) if (push) total_q <= total;
    always_comb if (rst_n && in_valid) a_limit : assume (total <= SUM'(LIMIT));

    // The followed frame has ahead_q frames before it at the output; the choice is free until its scores begin.
    logic [2:0] ahead_q;
    logic [COUNT:0][BITS-1:0] score_q;
    wire logic begun = ahead_q < frames_q || (ahead_q == frames_q && (in_q != '0 || push));
    always_ff @(posedge clk) begin
        if (rst_n && begun && !(pop_last && ahead_q == '0)) ahead_q <= ahead_q - 3'(pop_last);
        else ahead_q <= (rst_n ? frames : '0) + 3'(rst_n && !in_last && (in_q != '0 || push)) + 3'(pick);
    end
    for (genvar i = 0; i <= COUNT; i++) begin : g_token
        always_ff @(posedge clk) if (push && frames_q == ahead_q && in_q == TW'(i)) score_q[i] <= in_score;
    end
    logic [COUNT:0] keep;
    logic [COUNT:0][TW-1:0] larger;
    always_comb begin
        for (int unsigned i = 0; i <= COUNT; i++) begin
            larger[i] = '0;
            for (int unsigned j = 1; j <= COUNT; j++) begin
                if (score_q[j] > score_q[i] || (score_q[j] == score_q[i] && j < i)) larger[i] = larger[i] + 1'b1;
            end
            keep[i] = i == 0 || larger[i] < TW'(KEEP);
        end
    end

    wire logic watched = rst_n && out_valid && ahead_q == '0;
    always_comb begin
        if (rst_n) begin
            p_last : assert (!out_valid || out_last == (token_q == TW'(COUNT)));
            p_first : assert (!out_valid || token_q != '0 || out_keep);
            p_invent : assert (!out_valid || token_q == '0 || frames_q != '0);
            p_lose : assert (frames <= 3'd3);
            c_frames : cover (frames == 3'd3);
        end
        if (watched && token_q != '0) begin
            p_keep : assert (out_keep == keep[token_q]);
            p_score : assert (out_keep || BITS'(out_score) == score_q[token_q]);
            c_keep : cover (pop && out_keep && token_q == TW'(COUNT));
            c_drop : cover (pop && !out_keep && token_q == TW'(COUNT) && frames_q > 3'd1);
        end
    end
    proof_hold #(.WIDTH(DROP_BITS + 2)) out (
        .clk, .rst_n, .data({out_score, out_keep, out_last}), .valid(out_valid), .ready(out_ready)
    );
    proof_progress #(.LIMIT(WAIT), .TIGHT(1'b0)) decides (
        .clk, .rst_n, .want(frames_q != '0 || token_q == '0), .done(out_valid)
    );
    proof_progress #(.LIMIT(WAIT), .TIGHT(1'b0)) takes (
        .clk, .rst_n, .want(in_valid && out_ready), .done(push || pop)
    );
endmodule

`default_nettype wire
