// A register of WIDTH bits, without reset, that synthesis tools do not merge with equal ones: where a value goes to very many
// places, each group of these gets a copy.
`default_nettype none

`ifdef VP_SYNTH
(* keep_hierarchy *)
`endif
module vp_copy #(
    int unsigned WIDTH = 1
) (
    input  wire logic             clk,
    input  wire logic [WIDTH-1:0] in,
    output      logic [WIDTH-1:0] out
);
    (* keep = "true" *) logic [WIDTH-1:0] copy_q;
    always_ff @(posedge clk) copy_q <= in;
    assign out = copy_q;
endmodule

`default_nettype wire
