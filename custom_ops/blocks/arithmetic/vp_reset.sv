// Registers between the reset of a design and a unit: STAGES of them in a row, WIDTH rows side by side, all of the same input. At power-up
// they hold the unit in reset. Synthesis tools neither merge them with those of other units nor make shift registers in LUTs of
// them: they are there so that no net of a reset reaches further than one unit, and every way between two dies has registers of its
// own. Vivado looks at the attributes of the register, Yosys at that of the process.
`default_nettype none

module vp_reset #(
    int unsigned STAGES = 2,
    int unsigned WIDTH  = 1
) (
    input  wire logic             clk,
    input  wire logic             in,
    output      logic [WIDTH-1:0] out
);
    if (STAGES < 1 || WIDTH < 1) $error("vp_reset: STAGES %0d and WIDTH %0d must be at least 1", STAGES, WIDTH);

    (* keep = "true", shreg_extract = "no" *) logic [STAGES-1:0][WIDTH-1:0] rst_n_q;
    initial rst_n_q = '0;
    // no always_ff: initial writes it, too
    (* keep *) always @(posedge clk) rst_n_q <= (STAGES * WIDTH)'({rst_n_q, {WIDTH{in}}});
    assign out = rst_n_q[STAGES-1];
endmodule

`default_nettype wire
