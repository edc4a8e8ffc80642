// vp_stream_fork: both outputs see every beat once.
`default_nettype none

module proof_stream_fork #(
    int unsigned WIDTH = 2
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [1:0] pick,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic       out0_tready,
    input wire logic       out1_tready
);
    logic in0_tready, out0_tvalid, out1_tvalid;
    logic [7:0] out0_tdata, out1_tdata;
    vp_stream_fork #(.WIDTH(WIDTH)) dut (.*);

    wire logic [1:0] valid = {out1_tvalid, out0_tvalid};
    wire logic [1:0] ready = {out1_tready, out0_tready};
    wire logic [15:0] data = {out1_tdata, out0_tdata};
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(3)) quiet (.clk, .rst_n, .pins({in0_tready, out0_tvalid, out1_tvalid}));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    for (genvar i = 0; i < 2; i++) begin : g_out
        logic [2:0] held;
        proof_hold #(.WIDTH(8)) hold (
            .clk, .rst_n, .data(data[8*i+:8]), .valid(valid[i]), .ready(ready[i])
        );
        proof_order #(.WIDTH(WIDTH), .CAPACITY(3)) order (
            .clk, .rst_n, .pick(pick[i]), .push(in0_tvalid && in0_tready), .push_data(in0_tdata[WIDTH-1:0]),
            .pop_valid(valid[i]), .pop(valid[i] && ready[i]), .pop_data(data[8*i+:WIDTH]), .held
        );
        proof_progress #(.LIMIT(2)) out (.clk, .rst_n, .want(held != '0 && &ready), .done(valid[i]));
        always_comb if (rst_n) p_padding : assert (data[8*i+WIDTH+:8-WIDTH] == '0);
    end
    proof_progress #(.LIMIT(1)) in (.clk, .rst_n, .want(in0_tvalid && &ready), .done(in0_tready));
endmodule

`default_nettype wire
