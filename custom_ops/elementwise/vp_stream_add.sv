// Op top of VitAdd: saturating sum of two streams of signed elements, beat by beat.
`default_nettype none

module vp_stream_add #(
    int unsigned SIMD = 1,
    int unsigned BITS = 16,
    localparam int unsigned WIDTH  = SIMD * BITS,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    input  wire logic [PADDED-1:0] in1_tdata,
    input  wire logic              in1_tvalid,
    output      logic              in1_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready
);
    logic [WIDTH-1:0] a, b, sum, y;
    logic a_valid, b_valid, sum_ready;
    wire logic both = a_valid && b_valid;
    wire logic take = both && sum_ready;

    vp_skid #(.WIDTH(WIDTH)) skid_a (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(a), .out_valid(a_valid), .out_ready(take)
    );
    vp_skid #(.WIDTH(WIDTH)) skid_b (
        .clk, .rst_n, .in_data(in1_tdata[WIDTH-1:0]), .in_valid(in1_tvalid), .in_ready(in1_tready),
        .out_data(b), .out_valid(b_valid), .out_ready(take)
    );
    vp_saturating_add #(.SIMD(SIMD), .BITS(BITS)) add (.a, .b, .sum);
    vp_stage #(.WIDTH(WIDTH)) stage (
        .clk, .rst_n, .in_data(sum), .in_valid(both), .in_ready(sum_ready),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
