// Copies the tags of an engine to two chains of units: that of the units with a pass before the encoders (out0), and that of the others
// (out1), which never see the tag OUT of that pass.
`default_nettype none

module vp_engine_tag_fork #(
    int unsigned OUT = 2
) (
    input  wire logic       clk, rst_n,
    input  wire logic [7:0] in0_tdata,
    input  wire logic       in0_tvalid,
    output      logic       in0_tready,
    output      logic [7:0] out0_tdata,
    output      logic       out0_tvalid,
    input  wire logic       out0_tready,
    output      logic [7:0] out1_tdata,
    output      logic       out1_tvalid,
    input  wire logic       out1_tready
);
    logic [7:0] tag, copied;
    logic tag_valid, tag_ready;
    logic [1:0] valid, ready;
    vp_skid #(.WIDTH(8)) skid (
        .clk, .rst_n, .in_data(in0_tdata), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(tag), .out_valid(tag_valid), .out_ready(tag_ready)
    );
    vp_fork #(.WIDTH(8), .NUM(2)) both (
        .clk, .rst_n, .in_data(tag), .in_valid(tag_valid), .in_ready(tag_ready),
        .out_data(copied), .out_valid(valid), .out_ready(ready)
    );
    vp_stage #(.WIDTH(8)) all (
        .clk, .rst_n, .in_data(copied), .in_valid(valid[0]), .in_ready(ready[0]),
        .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    wire logic skipped = copied == 8'(OUT);
    logic room;
    assign ready[1] = room || skipped;
    vp_stage #(.WIDTH(8)) encoders (
        .clk, .rst_n, .in_data(copied), .in_valid(valid[1] && !skipped), .in_ready(room),
        .out_data(out1_tdata), .out_valid(out1_tvalid), .out_ready(out1_tready)
    );
endmodule

`default_nettype wire
