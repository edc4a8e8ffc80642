// Fused token from its sums: round_half_even(sum * mult * 2^-SHIFT), LANES elements a cycle, collected to
// beats of SIMD. A group of LANES elements is asked for in cycle -1 (group, last: of the token); the word
// of SIMD sums that holds it comes in two parts, low in cycle READ - 1 and high in cycle READ + 3. The constant is
// multiplied by five bits of the sum a row, one LUT a bit. Nothing waits: a beat is valid for one cycle, out_last
// with the last. The result must fit 16 bits. mult does not change before the next reset. Unless LOADED it is a constant, and
// odd; with LOADED a row has two bits of the sum.
`default_nettype none

module vp_token_drop_requant #(
    int unsigned SIMD       = 8,
    int unsigned LANES      = 1,
    int unsigned ACC_WIDTH  = 34,
    int unsigned LOW        = 12,
    int unsigned MULT_WIDTH = 1,
    int unsigned SHIFT      = 16,
    bit          TIES       = 1'b1,  // a sum may lie exactly between two results
    int unsigned READ       = 1,
    bit          LOADED     = 1'b0,
    localparam int unsigned HIGH   = ACC_WIDTH - LOW,
    localparam int unsigned GROUPS = SIMD / LANES,
    localparam int unsigned GROUP_W     = vp_pkg::width(GROUPS)
) (
    input  wire logic                 clk, rst_n,
    input  wire logic [MULT_WIDTH-1:0] mult,
    input  wire logic                 valid,
    input  wire logic                 last,
    input  wire logic [GROUP_W-1:0]   group,
    input  wire logic [SIMD*LOW-1:0]  low,
    input  wire logic [SIMD*HIGH-1:0] high,
    output      logic [SIMD*16-1:0]   out_data,
    output      logic                 out_valid,
    output      logic                 out_last
);
    localparam int unsigned BITS = LOADED ? 2 : 5;                       // of the sum a row
    localparam int unsigned ROWS = (ACC_WIDTH + BITS - 1) / BITS;
    localparam int unsigned STAGES = (ROWS + 1) / 2;                     // two rows a cycle
    localparam int unsigned DONE = BITS * (ROWS - 1);                       // product bits below the last row
    localparam int unsigned NEED = SHIFT + 16 > DONE ? SHIFT + 16 - DONE : 1;
    localparam int unsigned PARTIAL_W = MULT_WIDTH + BITS > NEED ? MULT_WIDTH + BITS : NEED;  // a row
    localparam int unsigned HALF_ROW = (SHIFT - 1) / BITS < ROWS ? (SHIFT - 1) / BITS : ROWS - 1;
    localparam int unsigned TIE_BITS = TIES && !LOADED ? SHIFT : 2;
    localparam int unsigned LATENCY = READ + 4 + STAGES + (LOADED ? 1 : 0);  // of the element, after cycle 0
    if (SIMD % LANES != 0 || SHIFT < 1 || (LOADED && HALF_ROW == 0) || SHIFT + 16 > DONE + PARTIAL_W)
        $error("vp_token_drop_requant: LANES %0d must divide SIMD %0d, SHIFT %0d be in the product", LANES, SIMD, SHIFT);

    // Digit d of a row times the constant, with the rounding half where the row covers it; the top digit is signed.
    function automatic logic [PARTIAL_W-1:0] multiple(input int d, input int unsigned row, input logic [MULT_WIDTH-1:0] constant);
        multiple = row == HALF_ROW ? PARTIAL_W'(1) << (SHIFT - 1 - BITS * row) : '0;  // sums of shifts: a product would be a DSP slice
        for (int i = 0; i < BITS; i++) if (d[i]) multiple += (row == ROWS - 1 && i == BITS - 1 ? -PARTIAL_W'(constant) : PARTIAL_W'(constant)) << i;
    endfunction

    // valid_q[i], last_q[i], group_q[i]: cycle i.
    logic [LATENCY:0] valid_q, last_q;
    logic [GROUP_W-1:0] group_q[READ+4];
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            valid_q <= '0;
            last_q  <= '0;
            for (int unsigned i = 0; i < READ + 4; i++) group_q[i] <= '0;
        end else begin
            valid_q <= {valid_q[LATENCY-1:0], valid};
            last_q  <= {last_q[LATENCY-1:0], valid && last};
            group_q[0] <= group;
            for (int unsigned i = 1; i < READ + 4; i++) group_q[i] <= group_q[i-1];
        end
    end

    logic [LANES*16-1:0] fused;
    for (genvar l = 0; l < LANES; l++) begin : g_lane
        // The lane's element of the word: the lower part, held until the upper part is there in cycle READ + 4.
        logic [GROUPS*LOW-1:0] lows;
        logic [GROUPS*HIGH-1:0] highs;
        for (genvar g = 0; g < GROUPS; g++) begin : g_group
            assign lows[g*LOW+:LOW]     = low[(g*LANES+l)*LOW+:LOW];
            assign highs[g*HIGH+:HIGH] = high[(g*LANES+l)*HIGH+:HIGH];
        end
        logic [LOW-1:0] low_q[1:5];
        logic [HIGH-1:0] high_q;
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                for (int unsigned i = 2; i <= 5; i++) low_q[i] <= '0;  // no shift registers in LUTs
            end else begin
                for (int unsigned i = 2; i <= 5; i++) low_q[i] <= low_q[i-1];
            end
            low_q[1] <= lows[int'(group_q[READ-1])*LOW+:LOW];
            high_q   <= highs[int'(group_q[READ+3])*HIGH+:HIGH];
        end

        // Rows 2s and 2s + 1 in cycle READ + 4 + s. What stands below a row is done and travels on.
        wire logic [ROWS*BITS-1:0] sum = (ROWS * BITS)'($signed({high_q, low_q[5]}));
        logic [STAGES-1:0][ROWS*BITS-1:0] digits, done;
        logic [STAGES-1:0] tie;
        logic [ROWS-1:0][PARTIAL_W-1:0] left;
        assign digits[0] = sum;
        assign tie[0] = TIES && !LOADED && sum[TIE_BITS-1:0] == {1'b1, {(TIE_BITS - 1) {1'b0}}};
        for (genvar s = 1; s < STAGES; s++) begin : g_stage
            logic [ROWS*BITS-1:0] digits_q, done_q;
            logic tie_q;
            always_ff @(posedge clk) begin
                if (!rst_n) digits_q <= '0;
                else digits_q <= digits[s-1];
                done_q <= done[s-1];
                tie_q  <= tie[s-1];
            end
            assign digits[s] = digits_q;
            assign tie[s] = tie_q;
        end
        for (genvar r = 0; r < ROWS; r++) begin : g_row
            logic [PARTIAL_W-1:0] above;
            if (r == 0) begin : g_first
                assign above = '0;
            end else if (r % 2 == 1) begin : g_same_cycle
                assign above = PARTIAL_W'(left[r-1][PARTIAL_W-1:BITS]);
            end else begin : g_next_cycle
                logic [PARTIAL_W-1:BITS] left_q;
                always_ff @(posedge clk) left_q <= left[r-1][PARTIAL_W-1:BITS];
                assign above = PARTIAL_W'(left_q);
            end
            logic [(1<<BITS)-1:0][PARTIAL_W-1:0] terms;  // one for each value of the digit
            for (genvar d = 0; d < 1 << BITS; d++) begin : g_term
                if (!LOADED) begin : g_built_in
                    assign terms[d] = multiple(d, r, mult);
                end else if (r == 0 || r == HALF_ROW || r == ROWS - 1) begin : g_own
                    logic [PARTIAL_W-1:0] term_q;
                    always_ff @(posedge clk) term_q <= multiple(d, r, mult);
                    assign terms[d] = term_q;
                end else begin : g_as_first
                    assign terms[d] = g_row[0].terms[d];
                end
            end
            logic [PARTIAL_W-1:0] term;
            always_comb begin
                term = '0;
                for (int i = 0; i < 1 << BITS; i++) if (int'(digits[r/2][BITS*r+:BITS]) == i) term = terms[i];
            end
            assign left[r] = above + term;
            for (genvar s = 0; s < STAGES; s++) begin : g_done
                if (s < r / 2) begin : g_before
                    assign done[s][BITS*r+:BITS] = '0;
                end else if (s == r / 2) begin : g_here
                    assign done[s][BITS*r+:BITS] = left[r][BITS-1:0];
                end else begin : g_after
                    assign done[s][BITS*r+:BITS] = g_stage[s].done_q[BITS*r+:BITS];
                end
            end
        end
        wire logic [DONE+PARTIAL_W-1:0] product = {left[ROWS-1], done[STAGES-1][DONE-1:0]};
        logic [15:0] rounded;
        logic between;  // the sum lies exactly between two results
        if (LOADED) begin : g_whole_product
            logic [SHIFT+15:0] product_q;
            always_ff @(posedge clk) product_q <= product[SHIFT+15:0];
            assign rounded = product_q[SHIFT+:16];
            assign between = product_q[SHIFT-1:0] == '0;
        end else begin : g_odd
            assign rounded = product[SHIFT+:16];
            assign between = tie[STAGES-1];
        end
        logic [15:0] fused_q;
        always_ff @(posedge clk) fused_q <= {rounded[15:1], rounded[0] && !between};
        assign fused[l*16+:16] = fused_q;
    end

    // Groups to beats: the element groups of a beat are shifted in, the first ends up lowest.
    logic [SIMD*16-1:0] out_data_q;
    logic out_valid_q, out_last_q;
    logic beat_done;
    if (GROUPS == 1) begin : g_whole
        assign beat_done = valid_q[LATENCY];
        always_ff @(posedge clk) out_data_q <= fused;
    end else begin : g_collect
        logic [GROUP_W-1:0] have_q;
        wire logic full = have_q == GROUP_W'(GROUPS - 1);
        assign beat_done = valid_q[LATENCY] && full;
        always_ff @(posedge clk) begin
            if (!rst_n) have_q <= '0;
            else if (valid_q[LATENCY]) have_q <= full ? '0 : have_q + 1'b1;
            if (valid_q[LATENCY]) out_data_q <= {fused, out_data_q[SIMD*16-1:LANES*16]};
        end
    end
    always_ff @(posedge clk) begin
        out_valid_q <= rst_n && beat_done;
        out_last_q  <= rst_n && last_q[LATENCY];
    end
    assign out_data  = out_data_q;
    assign out_valid = out_valid_q;
    assign out_last  = out_last_q;
endmodule

`default_nettype wire
