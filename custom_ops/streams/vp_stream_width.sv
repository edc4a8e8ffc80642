// Op top of VitWidthConverter: IN_SIMD elements a beat to OUT_SIMD. When neither divides the other the
// stream goes through beats of COMMON elements, their least common multiple.
`default_nettype none

module vp_stream_width #(
    int unsigned IN_SIMD  = 1,
    int unsigned OUT_SIMD = 1,
    int unsigned COMMON   = 1,
    int unsigned BITS     = 8,
    localparam int unsigned IN_TDATA_W = (IN_SIMD * BITS + 7) / 8 * 8,
    localparam int unsigned OUT_TDATA_W = (OUT_SIMD * BITS + 7) / 8 * 8
) (
    input  wire logic          clk, rst_n,
    input  wire logic [IN_TDATA_W-1:0] in0_tdata,
    input  wire logic          in0_tvalid,
    output      logic          in0_tready,
    output      logic [OUT_TDATA_W-1:0] out0_tdata,
    output      logic          out0_tvalid,
    input  wire logic          out0_tready
);
    if (COMMON % IN_SIMD != 0 || COMMON % OUT_SIMD != 0)
        $error("vp_stream_width: COMMON %0d is not a multiple of IN_SIMD %0d and OUT_SIMD %0d", COMMON, IN_SIMD, OUT_SIMD);

    logic [IN_SIMD*BITS-1:0] x;
    logic [OUT_SIMD*BITS-1:0] y;
    logic x_valid, x_ready;

    vp_skid #(.WIDTH(IN_SIMD * BITS)) skid (
        .clk, .rst_n, .in_data(in0_tdata[IN_SIMD*BITS-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(x_ready)
    );
    if (COMMON == IN_SIMD || COMMON == OUT_SIMD) begin : g_one
        vp_width #(.IN_ELEMS(IN_SIMD), .OUT_ELEMS(OUT_SIMD), .ELEM_WIDTH(BITS)) width (
            .clk, .rst_n, .in_data(x), .in_valid(x_valid), .in_ready(x_ready),
            .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
    end else begin : g_two
        logic [COMMON*BITS-1:0] word;
        logic word_valid, word_ready;
        vp_width #(.IN_ELEMS(IN_SIMD), .OUT_ELEMS(COMMON), .ELEM_WIDTH(BITS)) up (
            .clk, .rst_n, .in_data(x), .in_valid(x_valid), .in_ready(x_ready),
            .out_data(word), .out_valid(word_valid), .out_ready(word_ready)
        );
        vp_width #(.IN_ELEMS(COMMON), .OUT_ELEMS(OUT_SIMD), .ELEM_WIDTH(BITS)) down (
            .clk, .rst_n, .in_data(word), .in_valid(word_valid), .in_ready(word_ready),
            .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
    end
    assign out0_tdata = OUT_TDATA_W'(y);
endmodule

`default_nettype wire
