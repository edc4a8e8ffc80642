// Op top of VitCrossing: a chain of STAGES vp_skid. Every hop registers valid, data and ready, so that a
// border between two dies may lie between any two hops. Full throughput, STAGES cycles of latency. Each hop has its own bit of rst_n, all
// of them alike.
`default_nettype none

module vp_crossing #(
    int unsigned WIDTH  = 8,
    int unsigned STAGES = 2,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic [STAGES-1:0] rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready
);
    if (STAGES < 1) $error("vp_crossing: STAGES is %0d, it must be at least 1", STAGES);

    logic [STAGES:0][WIDTH-1:0] data;
    logic [STAGES:0] valid, ready;

    assign data[0]       = in0_tdata[WIDTH-1:0];
    assign valid[0]      = in0_tvalid;
    assign in0_tready    = ready[0];
    for (genvar i = 0; i < STAGES; i++) begin : g_hop
        vp_skid #(.WIDTH(WIDTH)) skid (
            .clk, .rst_n(rst_n[i]), .in_data(data[i]), .in_valid(valid[i]), .in_ready(ready[i]),
            .out_data(data[i+1]), .out_valid(valid[i+1]), .out_ready(ready[i+1])
        );
    end
    assign out0_tdata    = PADDED'(data[STAGES]);
    assign out0_tvalid   = valid[STAGES];
    assign ready[STAGES] = out0_tready;
endmodule

`default_nettype wire
