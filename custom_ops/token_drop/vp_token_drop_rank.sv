// Decides token by token what stays. Takes the scores of a frame, at most COUNT + PREFIX (the first PREFIX are ignored), ranks
// the others, and gives one decision a token in order: keep or drop, with the token's score. The first PREFIX
// tokens are always kept and their decisions wait for no score. The k largest scores are kept, the lower
// index wins ties. Scores beyond RANK_WIDTH bits saturate, as none of them can be dropped; dropped scores
// fit DROP_WIDTH bits. The scores of two frames are held, so that the next frame is ranked meanwhile. A decision
// may come every other cycle, or every fourth where the scores are in block RAM.
// LEVELS 0 ranks by insertion (fast), otherwise by histograms of so many levels (small).
// What is dropped is said by inputs, which do not change before the next reset: before_last (token before the last one, its index),
// keep (k - 1), invert and pads (of insertion: the dropped scores are ranked, being fewer; cells that are too many, with PADDED),
// all (every token is kept; of the scores only the last token waits for the frame's last one).
`default_nettype none

module vp_token_drop_rank #(
    int unsigned COUNT       = 16,
    int unsigned PREFIX      = 1,
    int unsigned CELLS       = 4,     // of insertion
    bit          PADDED      = 1'b0,
    int unsigned SCORE_WIDTH = 17,
    int unsigned RANK_WIDTH  = 15,
    int unsigned DROP_WIDTH  = 14,
    int unsigned LEVELS      = 0,
    int unsigned DIGITS      = 0,
    parameter    STYLE       = "distributed",
    localparam int unsigned TOKEN_COUNT_W = $clog2(COUNT + PREFIX)
) (
    input  wire logic                   clk, rst_n,
    input  wire logic [TOKEN_COUNT_W-1:0] before_last,
    input  wire logic [TOKEN_COUNT_W-1:0] keep,
    input  wire logic                   invert,
    input  wire logic [$clog2(CELLS + 1)-1:0] pads,
    input  wire logic                   all,
    input  wire logic [SCORE_WIDTH-1:0] in_score,
    input  wire logic                   in_valid,
    output      logic                   in_ready,
    output      logic [DROP_WIDTH-1:0]  out_score,
    output      logic                   out_keep,
    output      logic                   out_last,   // of the frame's tokens
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
    localparam int unsigned INDEX_W = vp_pkg::width(COUNT);
    if (DROP_WIDTH > RANK_WIDTH || RANK_WIDTH > SCORE_WIDTH || COUNT < 2)
        $error("vp_token_drop_rank: widths %0d, %0d, %0d must not fall and COUNT %0d be at least 2",
               DROP_WIDTH, RANK_WIDTH, SCORE_WIDTH, COUNT);

    // Scores in. A frame is let in when the ranker and a half of the RAM are free, and then whole.
    logic open_q, busy_q, write_bank_q, in_last_q, in_ranked, valid_q, last_q, idle, over;
    logic [1:0] full_q;
    logic [TOKEN_COUNT_W-1:0] in_q;
    logic [INDEX_W-1:0] index_q;
    logic [RANK_WIDTH-1:0] score_q;
    logic frame_done;
    wire logic take = in_valid && open_q;
    assign in_ready = open_q;
    if (SCORE_WIDTH > RANK_WIDTH) begin : g_saturate
        assign over = |in_score[SCORE_WIDTH-1:RANK_WIDTH];
    end else begin : g_as_is
        assign over = 1'b0;
    end
    if (PREFIX == 1) begin : g_class_token
        assign in_ranked = in_q != '0;
    end else begin : g_prefix
        logic in_ranked_q;
        always_ff @(posedge clk) begin
            if (!rst_n) in_ranked_q <= 1'b0;
            else if (take) in_ranked_q <= !in_last_q && (in_ranked_q || in_q == TOKEN_COUNT_W'(PREFIX - 1));
        end
        assign in_ranked = in_ranked_q;
    end
    logic read_bank_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            open_q       <= 1'b0;
            busy_q       <= LEVELS != 0 || PADDED;  // bins are swept, or cells padded, first
            write_bank_q <= 1'b0;
            full_q       <= '0;
            in_q         <= '0;
            in_last_q    <= 1'b0;
            valid_q      <= 1'b0;
        end else begin
            if (take) in_q <= in_last_q ? '0 : in_q + 1'b1;
            if (take) in_last_q <= in_q == before_last;
            if (open_q) open_q <= !(take && in_last_q);
            else open_q <= (!busy_q || all) && !full_q[write_bank_q];
            if (take && in_last_q) begin
                busy_q       <= 1'b1;
                write_bank_q <= !write_bank_q;
            end else if (idle) busy_q <= 1'b0;
            for (int unsigned b = 0; b < 2; b++) begin
                if (take && in_last_q && write_bank_q == b[0]) full_q[b] <= 1'b1;
                else if (frame_done && read_bank_q == b[0]) full_q[b] <= 1'b0;
            end
            valid_q <= take && in_ranked && !all;
        end
        last_q  <= in_last_q;
        index_q <= INDEX_W'(in_q);
        score_q <= over ? '1 : in_score[RANK_WIDTH-1:0];
    end

    // Decisions out. The address of a token's score stands until READ cycles later the score is there and, but for
    // the first tokens, its frame is ranked; then it is compared with the threshold, and the next token has its turn. What
    // the comparison says waits for the output register, which alone sees out_ready. Scores in block RAM pass its
    // output register and another one.
    localparam int unsigned READ = STYLE == "block" ? 3 : 1;
    logic [RANK_WIDTH-1:0] score;
    logic [DROP_WIDTH-1:0] wait_score_q, out_score_q;
    logic [TOKEN_COUNT_W-1:0] token_q;  // the first or last of the frame
    logic [READ:0] stood_q;             // the address, for so many cycles
    logic first_q;                      // a token of the prefix
    logic write_bank1_q, final_q, known_q, stays, result_valid;
    logic wait_valid_q, wait_first_q, wait_last_q, out_valid_q, out_keep_q, out_last_q;
    wire logic passes = all && (!final_q || full_q[read_bank_q]);
    wire logic compare = stood_q[READ] && (first_q || known_q || passes) && !wait_valid_q;
    wire logic ranked = result_valid && !known_q && !wait_valid_q;
    wire logic free = !out_valid_q || out_ready;
    vp_ram #(.DEPTH(2 << INDEX_W), .WIDTH(RANK_WIDTH), .STYLE(STYLE), .READ_LATENCY(READ)) scores (
        .clk, .we(valid_q), .waddr({write_bank1_q, index_q}), .wdata(score_q),
        .re('1), .zero(1'b0), .raddr({read_bank_q, INDEX_W'(token_q)}), .rdata(score)
    );
    assign frame_done = compare && final_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            token_q      <= '0;
            first_q      <= 1'b1;
            final_q      <= 1'b0;
            stood_q      <= '0;
            read_bank_q  <= 1'b0;
            known_q      <= 1'b0;
            wait_valid_q <= 1'b0;
            out_valid_q  <= 1'b0;
        end else begin
            if (compare) begin
                token_q <= final_q ? '0 : token_q + 1'b1;
                first_q <= final_q || (PREFIX > 1 && first_q && token_q != TOKEN_COUNT_W'(PREFIX - 1));
                final_q <= token_q == before_last;
            end
            stood_q <= compare ? (READ + 1)'(1) : {stood_q[READ-1:0], 1'b1};
            if (frame_done) read_bank_q <= !read_bank_q;
            if (frame_done) known_q <= 1'b0;
            else if (ranked) known_q <= 1'b1;
            if (compare) wait_valid_q <= 1'b1;
            else if (free) wait_valid_q <= 1'b0;
            if (free) out_valid_q <= wait_valid_q;
        end
        write_bank1_q <= write_bank_q;
        if (compare) {wait_first_q, wait_last_q, wait_score_q} <= {first_q, final_q, score[DROP_WIDTH-1:0]};
        if (free) {out_keep_q, out_last_q, out_score_q} <= {wait_first_q || all || stays, wait_last_q, wait_score_q};
    end

    if (LEVELS == 0) begin : g_insert
        localparam int unsigned KEY_W = RANK_WIDTH + INDEX_W;
        logic [INDEX_W-1:0] place_q;
        logic [KEY_W-1:0] found, threshold_q;
        logic kept_q;
        wire logic [INDEX_W-1:0] number = index_q - INDEX_W'(PREFIX);
        vp_token_drop_insert #(.CELLS(CELLS), .WIDTH(KEY_W), .PADDED(PADDED)) rank (
            .clk, .rst_n, .in_key({score_q, ~number}), .in_valid(valid_q), .in_last(last_q), .invert, .pads, .idle,
            .threshold(found), .out_valid(result_valid), .out_ready(ranked)
        );
        wire logic [KEY_W-1:0] key = {score, ~place_q};
        always_ff @(posedge clk) begin
            place_q <= INDEX_W'(token_q) - INDEX_W'(PREFIX);
            if (ranked) threshold_q <= found;
            if (compare) kept_q <= invert ? key > threshold_q : key >= threshold_q;
        end
        assign stays = kept_q;
    end else begin : g_histogram
        localparam int unsigned CELL_COUNT_W = $clog2(COUNT + 1);
        logic [RANK_WIDTH-1:0] found, threshold_q;
        logic [CELL_COUNT_W-1:0] ties;
        logic [CELL_COUNT_W:0] ties_q;  // ties still to keep, less one
        logic above_q, tie_q, tie_kept_q;
        vp_token_drop_histogram #(
            .COUNT(COUNT), .WIDTH(RANK_WIDTH), .LEVELS(LEVELS), .DIGITS(DIGITS)
        ) rank (
            .clk, .rst_n, .in_key(score_q), .in_valid(valid_q), .in_last(last_q), .keep(CELL_COUNT_W'(keep)), .idle,
            .threshold(found), .ties, .out_valid(result_valid), .out_ready(ranked)
        );
        wire logic keep_tie = tie_q && !ties_q[CELL_COUNT_W];
        always_ff @(posedge clk) begin
            if (ranked) threshold_q <= found;
            if (compare) begin
                above_q <= score > threshold_q;
                tie_q   <= score == threshold_q;
            end
            tie_kept_q <= free && wait_valid_q && !wait_first_q && keep_tie;
            if (ranked) ties_q <= {1'b0, ties};
            else if (tie_kept_q) ties_q <= ties_q - 1'b1;
        end
        assign stays = above_q || keep_tie;
    end
    assign out_score = out_score_q;
    assign out_keep  = out_keep_q;
    assign out_last  = out_last_q;
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
