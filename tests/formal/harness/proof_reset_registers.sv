// vp_reset: every bit is the input STAGES cycles ago, and low in the first STAGES cycles after power-up.
`default_nettype none

module proof_reset_registers #(
    int unsigned STAGES = 12,
    int unsigned WIDTH  = 2
) (
    input wire logic clk,
    input wire logic in
);
    logic [WIDTH-1:0] out;
    vp_reset #(.STAGES(STAGES), .WIDTH(WIDTH)) dut (.*);

    logic [STAGES-1:0] seen_q = '0;
    always_ff @(posedge clk) seen_q <= STAGES'({seen_q, in});
    always_comb begin
        p_delay : assert (out == {WIDTH{seen_q[STAGES-1]}});
        c_high : cover (&out && !seen_q[0]);
        c_low : cover (out == '0 && seen_q[0]);
    end
endmodule

`default_nettype wire
