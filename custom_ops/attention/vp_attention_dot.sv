// OUT dot products of IN terms that share their second factor: sums[o] = sum_i a[o][i] * b[i].
// Outputs go in pairs, an odd last one stands alone (vp_attention_dot_pair). Element (o, i) of a sits at o * IN + i.
// The register of b is for the multipliers alone, also where others hold the same; an odd output, whose products may stand
// in LUTs, has one of its own.
// Latency 5 + ($clog2(ceil(IN / 4)) + 1) / 2, free running.
`default_nettype none

module vp_attention_dot #(
    int unsigned OUT       = 4,
    int unsigned IN        = 16,
    int unsigned A_WIDTH   = 8,
    int unsigned B_WIDTH   = 8,
    bit          B_SIGNED  = 1'b1,
    localparam int unsigned SUM_WIDTH = A_WIDTH + B_WIDTH + $clog2(IN)
) (
    input  wire logic                      clk,
    input  wire logic [OUT*IN*A_WIDTH-1:0] a,
    input  wire logic [IN*B_WIDTH-1:0]     b,
    output      logic [OUT*SUM_WIDTH-1:0]  sums
);
    if (OUT < 1 || IN < 1 || A_WIDTH < 2 || A_WIDTH > 8 || B_WIDTH < 2 || B_WIDTH > 8)
        $error("vp_attention_dot: OUT %0d, IN %0d at least 1, A_WIDTH %0d, B_WIDTH %0d from 2 to 8", OUT, IN, A_WIDTH, B_WIDTH);

    logic [1:0][IN*B_WIDTH-1:0] b_q;  // of the pairs, of an odd output
    if (OUT > 1) begin : g_factors
        vp_copy #(.WIDTH(IN * B_WIDTH)) factors (.clk, .in(b), .out(b_q[0]));
    end
    if (OUT % 2 == 1) begin : g_odd_factors
        vp_copy #(.WIDTH(IN * B_WIDTH)) factors (.clk, .in(b), .out(b_q[1]));
    end

    for (genvar p = 0; p < (OUT + 1) / 2; p++) begin : g_pair
        localparam int unsigned FIELDS = 2 * p + 1 < OUT ? 2 : 1;
        vp_attention_dot_pair #(.FIELDS(FIELDS), .IN(IN), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .B_SIGNED(B_SIGNED)) pair (
            .clk, .a(a[2*p*IN*A_WIDTH+:FIELDS*IN*A_WIDTH]), .b(b_q[2-FIELDS]), .sums(sums[2*p*SUM_WIDTH+:FIELDS*SUM_WIDTH])
        );
    end
endmodule

`default_nettype wire
