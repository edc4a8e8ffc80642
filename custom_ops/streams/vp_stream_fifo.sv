// Op top of VitFIFO: DEPTH beats in PARTS vp_fifos, one behind the other, so that none has a slow RAM: many rows that a
// multiplexer joins, or a wide address. What PARTS does not divide is rounded up.
`default_nettype none

module vp_stream_fifo #(
    int unsigned WIDTH = 8,
    int unsigned DEPTH = 32,
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 2,
    int unsigned PARTS = 1,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready
);
    logic [PARTS:0][WIDTH-1:0] data;
    logic [PARTS:0] valid, ready;

    if (PARTS < 1) $error("vp_stream_fifo: PARTS is %0d, it must be at least 1", PARTS);
    assign data[0]      = in0_tdata[WIDTH-1:0];
    assign valid[0]     = in0_tvalid;
    assign in0_tready   = ready[0];
    assign out0_tdata   = PADDED'(data[PARTS]);
    assign out0_tvalid  = valid[PARTS];
    assign ready[PARTS] = out0_tready;
    for (genvar i = 0; i < PARTS; i++) begin : g_part
        vp_fifo #(
            .WIDTH(WIDTH), .DEPTH((DEPTH + PARTS - 1) / PARTS), .STYLE(STYLE), .READ_LATENCY(READ_LATENCY)
        ) fifo (
            .clk, .rst_n, .in_data(data[i]), .in_valid(valid[i]), .in_ready(ready[i]),
            .out_data(data[i+1]), .out_valid(valid[i+1]), .out_ready(ready[i+1])
        );
    end
endmodule

`default_nettype wire
