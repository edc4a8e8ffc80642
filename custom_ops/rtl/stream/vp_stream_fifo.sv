// Op top of VitFIFO: a vp_fifo of DEPTH beats.
`default_nettype none

module vp_stream_fifo #(
    int unsigned WIDTH = 8,
    int unsigned DEPTH = 32,
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 2,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic              rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready
);
    logic [WIDTH-1:0] y;

    vp_fifo #(.WIDTH(WIDTH), .DEPTH(DEPTH), .STYLE(STYLE), .READ_LATENCY(READ_LATENCY)) fifo (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
