// A unit's view of the order of frames in an engine. The entry sends the encoder of every frame that it lets in as a stream of
// tags, a beat a frame, through all units: each passes a tag on as soon as it has it. Frames reach every unit in that order, so the
// first encoder held here is that of the frame which the unit takes next; the unit says next when it has taken it. A frame may come
// before its tag: the unit waits for encoder_valid. With room for the tags of as many frames as are in the engine at
// most, no tag waits. With one encoder there are no tags.
`default_nettype none

module vp_engine_tags #(
    int unsigned ENCODERS = 12,
    int unsigned FRAMES   = 4,   // in the engine at most
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic             clk, rst_n,
    input  wire logic [7:0]       tags_in_tdata,
    input  wire logic             tags_in_tvalid,
    output      logic             tags_in_tready,
    output      logic [7:0]       tags_out_tdata,
    output      logic             tags_out_tvalid,
    input  wire logic             tags_out_tready,
    output      logic [TAG_W-1:0] encoder,
    output      logic             encoder_valid,
    input  wire logic             next
);
    if (ENCODERS < 1 || ENCODERS > 256) $error("vp_engine_tags: ENCODERS is %0d, it must be 1 to 256", ENCODERS);

    if (ENCODERS == 1) begin : g_one
        assign {tags_in_tready, tags_out_tdata, tags_out_tvalid} = '0;
        assign encoder       = '0;
        assign encoder_valid = 1'b1;
    end else begin : g_several
        logic [TAG_W-1:0] tag, own, passed;
        logic tag_valid, tag_ready;
        logic [1:0] valid, ready;
        vp_skid #(.WIDTH(TAG_W)) skid (
            .clk, .rst_n, .in_data(tags_in_tdata[TAG_W-1:0]), .in_valid(tags_in_tvalid), .in_ready(tags_in_tready),
            .out_data(tag), .out_valid(tag_valid), .out_ready(tag_ready)
        );
        vp_fork #(.WIDTH(TAG_W), .NUM(2)) both (
            .clk, .rst_n, .in_data(tag), .in_valid(tag_valid), .in_ready(tag_ready),
            .out_data(own), .out_valid(valid), .out_ready(ready)
        );
        vp_fifo #(.WIDTH(TAG_W), .DEPTH(FRAMES), .STYLE("distributed")) held (
            .clk, .rst_n, .in_data(own), .in_valid(valid[0]), .in_ready(ready[0]),
            .out_data(encoder), .out_valid(encoder_valid), .out_ready(next)
        );
        vp_stage #(.WIDTH(TAG_W)) on (
            .clk, .rst_n, .in_data(own), .in_valid(valid[1]), .in_ready(ready[1]),
            .out_data(passed), .out_valid(tags_out_tvalid), .out_ready(tags_out_tready)
        );
        assign tags_out_tdata = 8'(passed);
    end
endmodule

`default_nettype wire
