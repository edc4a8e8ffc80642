// A register of WIDTH bits, without reset, that synthesis tools do not merge with equal ones: where a value goes to very many
// places, each group of these gets a copy. Vivado looks at the attribute of the register, Yosys at that of the process.
`default_nettype none

module vp_copy #(
    int unsigned WIDTH = 1
) (
    input  wire logic             clk,
    input  wire logic [WIDTH-1:0] in,
    output      logic [WIDTH-1:0] out
);
    (* keep = "true" *) logic [WIDTH-1:0] copy_q;
    (* keep *) always_ff @(posedge clk) copy_q <= in;
    assign out = copy_q;
endmodule

`default_nettype wire
