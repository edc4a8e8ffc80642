// Op top of VitFork: copies one stream to two consumers, which may take a beat in different cycles but
// at most one beat apart. Deeper decoupling is the work of the FIFOs after it.
`default_nettype none

module vp_stream_fork #(
    int unsigned WIDTH = 8,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    output      logic [PADDED-1:0] out1_tdata,
    output      logic              out1_tvalid,
    input  wire logic              out1_tready
);
    logic [WIDTH-1:0] x, copy, y0, y1;
    logic x_valid, x_ready;
    logic [1:0] copy_valid, copy_ready;

    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(x_ready)
    );
    vp_fork #(.WIDTH(WIDTH), .NUM(2)) fork_i (
        .clk, .rst_n, .in_data(x), .in_valid(x_valid), .in_ready(x_ready),
        .out_data(copy), .out_valid(copy_valid), .out_ready(copy_ready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage0 (
        .clk, .rst_n, .in_data(copy), .in_valid(copy_valid[0]), .in_ready(copy_ready[0]),
        .out_data(y0), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage1 (
        .clk, .rst_n, .in_data(copy), .in_valid(copy_valid[1]), .in_ready(copy_ready[1]),
        .out_data(y1), .out_valid(out1_tvalid), .out_ready(out1_tready)
    );
    assign out0_tdata = PADDED'(y0);
    assign out1_tdata = PADDED'(y1);
endmodule

`default_nettype wire
