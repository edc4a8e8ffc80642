// Sum of NUM signed terms of WIDTH bits, a register after every level of two-input adders.
// LATENCY is clog2(NUM). With CARRY each term has a carry of weight 1 beside it: every adder takes one
// in at its carry input, so that of NUM carries one is left over; it comes out as carry_out and is to
// be added to sum by the adder that follows. Without CARRY tie carry to 0. Never stalls, no reset.
`default_nettype none

module vp_mvau_tree #(
    int unsigned NUM   = 4,
    int unsigned WIDTH = 16,
    bit          CARRY = 1'b0,
    localparam int unsigned LATENCY = $clog2(NUM),
    localparam int unsigned SUM_WIDTH = WIDTH + LATENCY
) (
    input  wire logic                 clk,
    input  wire logic [NUM*WIDTH-1:0] terms,
    input  wire logic [NUM-1:0]       carry,
    output      logic [SUM_WIDTH-1:0] sum,
    output      logic                 carry_out
);
    if (NUM < 1 || WIDTH < 1) begin : g_check
        $error("vp_mvau_tree: NUM %0d and WIDTH %0d must be at least 1", NUM, WIDTH);
    end

    for (genvar l = 0; l <= LATENCY; l++) begin : g_level
        localparam int unsigned COUNT = (NUM + (1 << l) - 1) >> l;
        localparam int unsigned W = WIDTH + l;
        logic [COUNT*W-1:0] value;
        logic [COUNT-1:0] pending;
        if (l == 0) begin : g_input
            assign value = terms;
            assign pending = CARRY ? carry : '0;
        end else begin : g_add
            localparam int unsigned BELOW = (NUM + (1 << (l - 1)) - 1) >> (l - 1);
            for (genvar i = 0; i < COUNT; i++) begin : g_node
                wire logic signed [W-2:0] a = g_level[l-1].value[2*i*(W-1)+:W-1];
                logic signed [W-1:0] node_q;
                if (2 * i + 1 == BELOW) begin : g_single
                    logic pending_q;
                    always_ff @(posedge clk) begin
                        node_q    <= W'(a);
                        pending_q <= g_level[l-1].pending[2*i];
                    end
                    assign pending[i] = CARRY ? pending_q : 1'b0;
                end else if (CARRY) begin : g_carry
                    wire logic signed [W-2:0] b = g_level[l-1].value[(2*i+1)*(W-1)+:W-1];
                    wire logic signed [W:0] a1 = {a[W-2], a, 1'b1};
                    wire logic signed [W:0] b1 = {b[W-2], b, g_level[l-1].pending[2*i]};
                    wire logic signed [W:0] s1 = a1 + b1;
                    logic pending_q;
                    always_ff @(posedge clk) begin
                        node_q    <= s1[W:1];
                        pending_q <= g_level[l-1].pending[2*i+1];
                    end
                    assign pending[i] = pending_q;
                end else begin : g_plain
                    wire logic signed [W-2:0] b = g_level[l-1].value[(2*i+1)*(W-1)+:W-1];
                    always_ff @(posedge clk) node_q <= W'(a) + W'(b);
                    assign pending[i] = 1'b0;
                end
                assign value[i*W+:W] = node_q;
            end
        end
    end
    assign sum = g_level[LATENCY].value;
    assign carry_out = g_level[LATENCY].pending[0];
endmodule

`default_nettype wire
