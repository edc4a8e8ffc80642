// Accumulates sums of NUM signed terms, each with a carry of weight 1 below it, a register after every adder:
//   acc = (first ? 0 : acc) + sum_i (value[i] + carry[i])     modulo 2^ACC_BITS.
// The carries go in at the carry inputs of the NUM adders. LATENCY from terms to acc is clog2(NUM) + 1; first
// comes clog2(NUM) cycles after its terms. Never stalls, no reset.
`default_nettype none

module vp_mac_sum #(
    int unsigned NUM      = 4,
    int unsigned WIDTH    = 18,   // bits of a term, its carry among them
    int unsigned ACC_BITS = 24
) (
    input  wire logic                 clk,
    input  wire logic [NUM*WIDTH-1:0] terms,  // {value, carry}
    input  wire logic                 first,
    output      logic [ACC_BITS-1:0]  acc
);
    logic signed [WIDTH+$clog2(NUM)-1:0] sum;
    vp_adder_tree #(.NUM(NUM), .WIDTH(WIDTH), .CARRY(1'b1)) tree (.clk, .en(1'b1), .terms, .sum);

    // a - ~b is a + b + 1; bit 0 of both operands leaves the carry of it. With a sum of a and b Yosys would give
    // kept to the carry chain as it is, and choose it in LUTs of its own.
    wire logic [ACC_BITS-1:0] kept = first ? '0 : acc;
    wire logic [ACC_BITS:0] next = (ACC_BITS + 1)'(sum) - {~kept, 1'b1};
    always_ff @(posedge clk) acc <= next[ACC_BITS:1];
endmodule

`default_nettype wire
