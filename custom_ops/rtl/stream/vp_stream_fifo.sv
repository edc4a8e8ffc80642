// Op top of VitFIFO: holds DEPTH beats, in a chain of vp_fifo of SECTION beats each, the last of what is left; SECTION 0: in
// one. A deep memory in LUTs is cut up so, as a net reaches every 64 words of it.
`default_nettype none

module vp_stream_fifo #(
    int unsigned WIDTH = 8,
    int unsigned DEPTH = 32,
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 2,
    int unsigned SECTION = 0,
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
    localparam int unsigned BEATS = SECTION == 0 ? DEPTH : SECTION;
    localparam int unsigned SECTIONS = (DEPTH + BEATS - 1) / BEATS;
    logic [SECTIONS:0][WIDTH-1:0] data;
    logic [SECTIONS:0] valid, ready;

    assign data[0]    = in0_tdata[WIDTH-1:0];
    assign valid[0]   = in0_tvalid;
    assign in0_tready = ready[0];
    for (genvar i = 0; i < SECTIONS; i++) begin : g_section
        vp_fifo #(
            .WIDTH(WIDTH), .DEPTH(i < SECTIONS - 1 ? BEATS : DEPTH - i * BEATS), .STYLE(STYLE), .READ_LATENCY(READ_LATENCY)
        ) fifo (
            .clk, .rst_n, .in_data(data[i]), .in_valid(valid[i]), .in_ready(ready[i]),
            .out_data(data[i+1]), .out_valid(valid[i+1]), .out_ready(ready[i+1])
        );
    end
    assign ready[SECTIONS] = out0_tready;
    assign out0_tvalid = valid[SECTIONS];
    assign out0_tdata  = PADDED'(data[SECTIONS]);
endmodule

`default_nettype wire
