// A register that synthesis does not merge with equal ones: each of them drives its share of many loads.
`default_nettype none

`ifdef VP_SYNTH
(* keep_hierarchy *)
`endif
module vp_copy #(
    int unsigned WIDTH = 1
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [WIDTH-1:0] in,
    output      logic [WIDTH-1:0] out
);
    (* keep = "true" *) logic [WIDTH-1:0] copy_q;
    always_ff @(posedge clk) begin
        if (!rst_n) copy_q <= '0;
        else copy_q <= in;
    end
    assign out = copy_q;
endmodule

`default_nettype wire
