// Accumulates sums of NUM signed terms, a register after every adder:
//   acc = (first ? 0 : acc) + sum_i (term[i] + PLUS_ONE)     modulo 2^ACC_BITS.
// The ones go in at the carry inputs of the NUM adders. LATENCY from terms to acc is clog2(NUM) + 1; first
// comes clog2(NUM) cycles after its terms. Never stalls, no reset.
`default_nettype none

module vp_mac_sum #(
    int unsigned NUM      = 4,
    int unsigned WIDTH    = 18,
    bit          PLUS_ONE = 1'b0,
    int unsigned ACC_BITS = 24,
    localparam int unsigned LEVELS = $clog2(NUM)
) (
    input  wire logic                 clk,
    input  wire logic [NUM*WIDTH-1:0] terms,
    input  wire logic                 first,
    output      logic [ACC_BITS-1:0]  acc
);
    if (NUM < 1 || WIDTH < 1) begin : g_check
        $error("vp_mac_sum: NUM %0d and WIDTH %0d must be at least 1", NUM, WIDTH);
    end

    for (genvar l = 0; l <= LEVELS; l++) begin : g_level
        localparam int unsigned COUNT = (NUM + (1 << l) - 1) >> l;
        localparam int unsigned W = WIDTH + l;
        logic [COUNT*W-1:0] value;
        if (l == 0) begin : g_input
            assign value = terms;
        end else begin : g_add
            localparam int unsigned BELOW = (NUM + (1 << (l - 1)) - 1) >> (l - 1);
            for (genvar i = 0; i < COUNT; i++) begin : g_node
                wire logic signed [W-2:0] a = g_level[l-1].value[2*i*(W-1)+:W-1];
                logic [W-1:0] node_q;
                if (2 * i + 1 == BELOW) begin : g_single
                    always_ff @(posedge clk) node_q <= W'(a);
                end else begin : g_pair
                    wire logic signed [W-2:0] b = g_level[l-1].value[(2*i+1)*(W-1)+:W-1];
                    // a - ~b is a + b + 1 in one carry chain.
                    always_ff @(posedge clk) node_q <= PLUS_ONE ? W'(a) - ~W'(b) : W'(a) + W'(b);
                end
                assign value[i*W+:W] = node_q;
            end
        end
    end

    wire logic signed [WIDTH+LEVELS-1:0] sum = g_level[LEVELS].value;
    logic [ACC_BITS-1:0] acc_q;
    wire logic [ACC_BITS-1:0] kept = first ? '0 : acc_q;
    always_ff @(posedge clk) acc_q <= PLUS_ONE ? ACC_BITS'(sum) - ~kept : ACC_BITS'(sum) + kept;
    assign acc = acc_q;
endmodule

`default_nettype wire
