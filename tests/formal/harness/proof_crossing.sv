// vp_crossing: one stream through a chain of STAGES registers of two beats.
`default_nettype none

module proof_crossing #(
    int unsigned WIDTH  = 2,
    int unsigned STAGES = 2
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic       pick,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic       out0_tready
);
    logic in0_tready, out0_tvalid;
    logic [7:0] out0_tdata;
    vp_crossing #(.WIDTH(WIDTH), .STAGES(STAGES)) dut (.*, .rst_n({STAGES{rst_n}}));

    localparam int unsigned BITS = $clog2(2 * STAGES + 4);
    logic [BITS-1:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(2)) quiet (.clk, .rst_n, .pins({in0_tready, out0_tvalid}));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready));
    proof_order #(.WIDTH(WIDTH), .CAPACITY(2 * STAGES)) order (
        .clk, .rst_n, .pick, .push(in0_tvalid && in0_tready), .push_data(in0_tdata[WIDTH-1:0]),
        .pop_valid(out0_tvalid), .pop(out0_tvalid && out0_tready), .pop_data(out0_tdata[WIDTH-1:0]), .held
    );
    // A beat shows after the other stages; while the sink takes, so does the block once every stage has moved.
    proof_progress #(.LIMIT(STAGES - 1)) out (.clk, .rst_n, .want(held != '0), .done(out0_tvalid));
    proof_progress #(.LIMIT(STAGES)) in (.clk, .rst_n, .want(in0_tvalid && out0_tready), .done(in0_tready));
    always_comb if (rst_n) p_padding : assert (out0_tdata[7:WIDTH] == '0);
endmodule

`default_nettype wire
