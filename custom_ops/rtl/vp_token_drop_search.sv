// Ranks COUNT scores a frame by bisection: the largest threshold that at least KEEP keys reach, bit by
// bit from the top. The key of score i is {score, ~i}, unique, the lower index wins ties. LANES scores
// (a power of two) are compared a cycle: (ceil(COUNT / LANES) + 2) cycles for each bit of the key, in
// which no score is taken. Small, for frames long enough to hide that.
`default_nettype none

module vp_token_drop_search #(
    int unsigned COUNT       = 16,
    int unsigned KEEP        = 4,
    int unsigned SCORE_WIDTH = 17,
    int unsigned INDEX_WIDTH = 4,
    int unsigned LANES       = 8,
    localparam int unsigned WIDTH = SCORE_WIDTH + INDEX_WIDTH
) (
    input  wire logic                   clk,
    input  wire logic                   rst_n,
    input  wire logic [SCORE_WIDTH-1:0] in_score,
    input  wire logic                   in_valid,
    output      logic                   in_ready,
    output      logic [WIDTH-1:0]       threshold,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
    localparam int unsigned WORDS = (COUNT + LANES - 1) / LANES;
    localparam int unsigned LB = $clog2(LANES);
    localparam int unsigned AW = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam int unsigned NW = LB + AW;                // bits of a lane and a word together
    localparam int unsigned SW = $clog2(WORDS + 2);
    localparam int unsigned CW = $clog2(COUNT + 1);
    if (LANES < 2 || LANES != (1 << LB) || KEEP < 1 || KEEP > COUNT || NW < INDEX_WIDTH) begin : g_check
        $error("vp_token_drop_search: LANES %0d must be a power of two, KEEP %0d at most COUNT %0d",
               LANES, KEEP, COUNT);
    end

    // Scores of a frame: lane by lane into a word, words into the RAM.
    logic [NW-1:0] index_q;
    logic [LANES*SCORE_WIDTH-1:0] word_q, scores;
    logic [AW-1:0] waddr_q;
    logic we_q, run_q;
    logic [SW-1:0] step_q;
    wire logic take = in_valid && in_ready;
    wire logic last = index_q == NW'(COUNT - 1);
    assign in_ready = !run_q;
    for (genvar l = 0; l < LANES; l++) begin : g_word
        always_ff @(posedge clk) begin
            if (take && index_q[LB-1:0] == LB'(l)) word_q[l*SCORE_WIDTH+:SCORE_WIDTH] <= in_score;
        end
    end
    vp_ram #(.DEPTH(WORDS), .WIDTH(LANES * SCORE_WIDTH), .STYLE("distributed")) ram (
        .clk, .we(we_q), .waddr(waddr_q), .wdata(word_q),
        .re(1'b1), .raddr(AW'(step_q)), .rdata(scores)
    );

    // One pass over the words per bit: read (steps 0 to WORDS - 1), compare, count. The pass is decided
    // in step 0 of the next.
    logic [WIDTH-1:0] best_q, bit_q, threshold_q;
    logic [AW-1:0] word1_q;
    logic [LANES-1:0] reach, reach_q;
    logic read1_q, read2_q, counted_q, out_valid_q, full_q;
    logic [CW-1:0] count_q, ones;
    wire logic [WIDTH-1:0] candidate = best_q | bit_q;
    for (genvar l = 0; l < LANES; l++) begin : g_lane
        localparam bit PADDED = (WORDS - 1) * LANES + l >= COUNT;  // this lane of the last word is empty
        wire logic [NW-1:0] place = {word1_q, LB'(l)};
        wire logic [WIDTH-1:0] key = {scores[l*SCORE_WIDTH+:SCORE_WIDTH], ~place[INDEX_WIDTH-1:0]};
        wire logic empty = PADDED && word1_q == AW'(WORDS - 1);
        assign reach[l] = key >= candidate && !empty;
    end
    always_comb begin
        ones = '0;
        for (int unsigned l = 0; l < LANES; l++) ones = ones + CW'(reach_q[l]);
    end

    wire logic going = run_q && !we_q && !full_q;
    wire logic decide = going && counted_q && step_q == '0;
    wire logic finish = decide && bit_q[0];
    wire logic enough = count_q >= CW'(KEEP);
    wire logic move = full_q && (!out_valid_q || out_ready);
    always_ff @(posedge clk) begin
        word1_q <= AW'(step_q);
        reach_q <= reach;
        if (!run_q || decide) count_q <= '0;
        else if (read2_q) count_q <= count_q + ones;
        waddr_q <= index_q[NW-1:LB];
        if (!run_q) begin
            best_q <= '0;
            bit_q  <= {1'b1, {(WIDTH - 1) {1'b0}}};
        end else if (decide) begin
            if (enough) best_q <= candidate;
            bit_q <= bit_q >> 1;
        end
        if (move) threshold_q <= best_q;
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            index_q     <= '0;
            we_q        <= 1'b0;
            run_q       <= 1'b0;
            full_q      <= 1'b0;
            step_q      <= '0;
            read1_q     <= 1'b0;
            read2_q     <= 1'b0;
            counted_q   <= 1'b0;
            out_valid_q <= 1'b0;
        end else begin
            if (take) index_q <= last ? '0 : index_q + 1'b1;
            we_q    <= take && (last || &index_q[LB-1:0]);
            read1_q <= going && step_q < SW'(WORDS);
            read2_q <= read1_q;
            if (take && last) run_q <= 1'b1;
            else if (move) run_q <= 1'b0;
            counted_q <= going;
            if (!going || step_q == SW'(WORDS + 1)) step_q <= '0;
            else step_q <= step_q + 1'b1;
            if (move) full_q <= 1'b0;
            else if (finish) full_q <= 1'b1;
            if (move) out_valid_q <= 1'b1;
            else if (out_ready) out_valid_q <= 1'b0;
        end
    end
    assign threshold = threshold_q;
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
