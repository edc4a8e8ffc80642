// One lane of the fused token: old + score * x, exact, without a multiplier block. A row adds
// {0, 1, 2, 3} * score for two bits of x and hands on what is left above them, so a row costs one LUT
// a bit of score. Two rows a cycle: x and the lower LOW bits of the old sum enter in cycle 0, those bits
// of the new sum leave in cycle 2, the old upper bits enter and the new ones leave in cycle 4. A new x
// may enter every cycle. The score (once) and three times the score (thrice) must follow x through
// cycles 0 to 3; index 0 is what cycle 0 sees.
`default_nettype none

module vp_token_drop_lane #(
    int unsigned SCORE_WIDTH = 12,
    int unsigned ACC_WIDTH   = 34,
    int unsigned LOW         = 12,
    localparam int unsigned HIGH = ACC_WIDTH - LOW,
    localparam int unsigned ROW_W   = SCORE_WIDTH + 2
) (
    input  wire logic                     clk, rst_n,
    input  wire logic [15:0]              x,
    input  wire logic [4*SCORE_WIDTH-1:0] once,
    input  wire logic [4*ROW_W-1:0]       thrice,
    input  wire logic [LOW-1:0]           old_low,
    output      logic [LOW-1:0]           sum_low,
    input  wire logic [HIGH-1:0]          old_high,
    output      logic [HIGH-1:0]          sum_high
);
    if (LOW < 1 || LOW > 12 || LOW > SCORE_WIDTH || ACC_WIDTH <= LOW)
        $error("vp_token_drop_lane: LOW %0d must be 1 to 12, at most SCORE_WIDTH %0d, below ACC_WIDTH %0d", LOW, SCORE_WIDTH, ACC_WIDTH);

    logic [15:4] x1_q;
    logic [15:8] x2_q;
    logic [15:12] x3_q;
    wire logic [15:0] digits = {x3_q, x2_q[11:8], x1_q[7:4], x[3:0]};  // of one cycle: four x under way
    always_ff @(posedge clk) begin
        x1_q <= x[15:4];
        x2_q <= x1_q[15:8];
        if (!rst_n) x3_q <= '0;  // a reset, so that no shift register in LUTs is made of it
        else x3_q <= x2_q[15:12];
    end

    // Rows 2c and 2c + 1 in cycle c. The top digit of x is signed: -2, -1, 0 or 1.
    logic [ROW_W-1:0] rest[4];  // after row 2c + 1
    logic [3:0] done[4];     // sum bits 4c to 4c + 3
    for (genvar c = 0; c < 4; c++) begin : g_cycle
        wire logic [SCORE_WIDTH-1:0] s = once[c*SCORE_WIDTH+:SCORE_WIDTH];
        wire logic [ROW_W-1:0] s3 = thrice[c*ROW_W+:ROW_W];
        wire logic [3:0] d = digits[4*c+:4];
        wire logic [ROW_W-1:0] s1 = {2'b00, s};
        wire logic [ROW_W-1:0] s2 = {1'b0, s, 1'b0};
        logic [ROW_W-1:0] above, even, odd, even_term, odd_term;
        assign even_term = d[1] ? (d[0] ? s3 : s2) : (d[0] ? s1 : '0);
        assign even = above + even_term;
        if (c == 0) begin : g_first
            assign above = ROW_W'(old_low);
        end else begin : g_next
            logic [ROW_W-1:0] rest_q;
            always_ff @(posedge clk) rest_q <= rest[c-1];
            assign above = ROW_W'(rest_q[ROW_W-1:2]);
        end
        if (c < 3) begin : g_unsigned
            assign odd_term = d[3] ? (d[2] ? s3 : s2) : (d[2] ? s1 : '0);
            assign odd = ROW_W'(even[ROW_W-1:2]) + odd_term;
        end else begin : g_signed
            logic unused;
            assign odd_term = d[3] ? (d[2] ? ~s1 : ~s2) : (d[2] ? s1 : '0);
            assign {odd, unused} = {ROW_W'(even[ROW_W-1:2]), 1'b1} + {odd_term, d[3]};
        end
        assign rest[c] = odd;
        assign done[c] = {odd[1:0], even[1:0]};
    end

    logic [3:0] done0_q;
    logic [7:0] done1_q;
    wire logic [11:0] below = {done[2], done1_q};  // sum bits 0 to 11, in cycle 2
    assign sum_low = below[LOW-1:0];

    // The rest of the product, signed, from bit LOW upwards.
    logic [ROW_W+13-LOW:0] top_q;
    always_ff @(posedge clk) begin
        done0_q <= done[0];
        done1_q <= {done[1], done0_q};
    end
    if (LOW == 12) begin : g_all
        always_ff @(posedge clk) top_q <= {rest[3], done[3][1:0]};
    end else begin : g_some
        logic [11:LOW] below_q;
        always_ff @(posedge clk) begin
            below_q <= below[11:LOW];
            top_q   <= {rest[3], done[3][1:0], below_q};
        end
    end
    assign sum_high = old_high + HIGH'($signed(top_q));
endmodule

`default_nettype wire
