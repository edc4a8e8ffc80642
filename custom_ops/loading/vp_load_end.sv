// Op top of VitLoadEnd, the last unit of a design whose memories are loaded: the stream passes, and after the last of BEATS
// beats of a frame frame_left is 1 for a cycle. What comes back from the load chain goes on to vp_load_port; STAGES
// registers stand before, and one after, both.
`default_nettype none

module vp_load_end #(
    int unsigned WIDTH  = 8,
    int unsigned BEATS  = 4,
    int unsigned STAGES = 1,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out,
    output      logic              frame_left
);
    localparam int unsigned BEAT_W = vp_pkg::width(BEATS);

    if (BEATS < 1) $error("vp_load_end: BEATS is %0d, it must be at least 1", BEATS);

    logic [WIDTH-1:0] out_data;
    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(out_data);

    logic [BEAT_W-1:0] beat_q;
    logic left_q;
    wire logic last = beat_q == BEAT_W'(BEATS - 1);
    always_ff @(posedge clk) begin
        left_q <= rst_n && out0_tvalid && out0_tready && last;
        if (!rst_n) beat_q <= '0;
        else if (out0_tvalid && out0_tready) beat_q <= last ? '0 : beat_q + 1'b1;
    end
    assign frame_left = left_q;

    vp_delay #(.WIDTH(34), .LENGTH(STAGES + 1)) load_later (.clk, .rst_n, .in(load_in), .out(load_out));
endmodule

`default_nettype wire
