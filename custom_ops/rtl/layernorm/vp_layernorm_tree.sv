// Sum of N signed elements, one register per level: LATENCY is clog2(N) enabled cycles. en advances
// all levels together; there is no reset, carry a valid bit beside it. Sums grow a bit per level and
// are sign-extended to OUT_WIDTH.
`default_nettype none

module vp_layernorm_tree #(
    int unsigned N         = 4,
    int unsigned IN_WIDTH  = 16,
    int unsigned OUT_WIDTH = 18,
    localparam int unsigned LATENCY = N > 1 ? $clog2(N) : 0
) (
    input  wire logic                        clk,
    input  wire logic                        en,
    input  wire logic [N*IN_WIDTH-1:0]       in,
    output      logic signed [OUT_WIDTH-1:0] out
);
    if (N < 1 || OUT_WIDTH < IN_WIDTH + LATENCY) begin : g_check
        $error("vp_layernorm_tree: OUT_WIDTH %0d does not hold the sum of %0d elements of %0d bits",
               OUT_WIDTH, N, IN_WIDTH);
    end

    for (genvar l = 0; l <= LATENCY; l++) begin : g_level
        localparam int unsigned NUM = (N + (1 << l) - 1) >> l;
        localparam int unsigned WIDTH = IN_WIDTH + l;
        logic [NUM*WIDTH-1:0] sums;
        if (l == 0) begin : g_in
            assign sums = in;
        end else begin : g_add
            localparam int unsigned PREV = (N + (1 << (l - 1)) - 1) >> (l - 1);
            for (genvar i = 0; i < NUM; i++) begin : g_node
                wire logic signed [WIDTH-2:0] a = g_level[l-1].sums[2*i*(WIDTH-1)+:WIDTH-1];
                logic signed [WIDTH-1:0] sum_q;
                if (2 * i + 1 < PREV) begin : g_pair
                    wire logic signed [WIDTH-2:0] b = g_level[l-1].sums[(2*i+1)*(WIDTH-1)+:WIDTH-1];
                    always_ff @(posedge clk) if (en) sum_q <= WIDTH'(a) + WIDTH'(b);
                end else begin : g_single
                    always_ff @(posedge clk) if (en) sum_q <= WIDTH'(a);
                end
                assign sums[i*WIDTH+:WIDTH] = sum_q;
            end
        end
    end
    wire logic signed [IN_WIDTH+LATENCY-1:0] total = g_level[LATENCY].sums;
    assign out = OUT_WIDTH'(total);
endmodule

`default_nettype wire
