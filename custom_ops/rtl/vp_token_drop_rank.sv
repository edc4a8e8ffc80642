// Decides token by token what stays. Takes the COUNT + 1 scores of a frame (the first is ignored),
// ranks the others, and gives one decision a token in order: keep or drop, with the token's score. The
// first token is always kept and its decision waits for no score. The KEEP largest scores are kept, the
// lower index wins ties. Scores of two frames are held, so the next frame is ranked meanwhile.
// SEARCH_LANES 0 ranks by insertion (fast), otherwise by bisection with so many comparators (small).
`default_nettype none

module vp_token_drop_rank #(
    int unsigned COUNT        = 16,
    int unsigned KEEP         = 4,
    int unsigned WIDTH        = 17,
    int unsigned SEARCH_LANES = 0
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [WIDTH-1:0] in_score,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [WIDTH-1:0] out_score,
    output      logic             out_keep,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    localparam int unsigned IW = COUNT > 1 ? $clog2(COUNT) : 1;
    localparam int unsigned KW = WIDTH + IW;
    localparam int unsigned TW = $clog2(COUNT + 1);
    localparam bit DROPPED = SEARCH_LANES == 0 && COUNT - KEEP < KEEP;  // the threshold is a dropped key

    // Scores in: to the ranker and to the FIFO, both or neither; score 0 to nobody.
    logic [TW-1:0] in_q;
    logic rank_ready, fifo_ready;
    wire logic skip = in_q == '0;
    wire logic take = in_valid && in_ready;
    assign in_ready = skip || (rank_ready && fifo_ready);
    always_ff @(posedge clk) begin
        if (!rst_n) in_q <= '0;
        else if (take) in_q <= in_q == TW'(COUNT) ? '0 : in_q + 1'b1;
    end

    logic [WIDTH-1:0] score;
    logic [KW-1:0] threshold;
    logic score_valid, threshold_valid, next, done;
    vp_fifo #(.WIDTH(WIDTH), .DEPTH(2 * COUNT)) scores (
        .clk, .rst_n, .in_data(in_score), .in_valid(in_valid && !skip && rank_ready), .in_ready(fifo_ready),
        .out_data(score), .out_valid(score_valid), .out_ready(next)
    );
    wire logic rank_valid = in_valid && !skip && fifo_ready;
    if (SEARCH_LANES == 0) begin : g_insert
        wire logic [TW-1:0] place = in_q - 1'b1;
        vp_token_drop_insert #(
            .COUNT(COUNT), .CELLS(DROPPED ? COUNT - KEEP : KEEP), .WIDTH(KW), .INVERT(DROPPED)
        ) rank (
            .clk, .rst_n, .in_key({in_score, ~place[IW-1:0]}), .in_valid(rank_valid), .in_ready(rank_ready),
            .threshold, .out_valid(threshold_valid), .out_ready(done)
        );
    end else begin : g_search
        vp_token_drop_search #(
            .COUNT(COUNT), .KEEP(KEEP), .SCORE_WIDTH(WIDTH), .INDEX_WIDTH(IW), .LANES(SEARCH_LANES)
        ) rank (
            .clk, .rst_n, .in_score, .in_valid(rank_valid), .in_ready(rank_ready),
            .threshold, .out_valid(threshold_valid), .out_ready(done)
        );
    end

    // Decisions out.
    logic [TW-1:0] token_q;
    logic decided_ready, keep;
    wire logic class_token = token_q == '0;
    wire logic last = token_q == TW'(COUNT);
    wire logic decided = class_token || (score_valid && threshold_valid);
    wire logic [TW-1:0] place = token_q - 1'b1;
    wire logic [KW-1:0] key = {score, ~place[IW-1:0]};
    assign keep = class_token || (DROPPED ? key > threshold : key >= threshold);
    assign next = decided_ready && threshold_valid && !class_token;
    assign done = next && score_valid && last;
    always_ff @(posedge clk) begin
        if (!rst_n) token_q <= '0;
        else if (decided && decided_ready) token_q <= last ? '0 : token_q + 1'b1;
    end
    vp_skid #(.WIDTH(WIDTH + 1)) decisions (
        .clk, .rst_n, .in_data({keep, score}), .in_valid(decided), .in_ready(decided_ready),
        .out_data({out_keep, out_score}), .out_valid, .out_ready
    );
endmodule

`default_nettype wire
