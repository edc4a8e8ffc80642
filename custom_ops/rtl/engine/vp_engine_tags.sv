// A unit's view of the order of frames in an engine. The entry sends the encoder of every frame that it lets in along a chain of
// registers through all units (tag = {valid, encoder}). Frames reach every unit in that order, so the first encoder held here is
// that of the frame which the unit takes next; the unit says next when it has taken it. A frame may come before its tag: the unit
// waits for encoder_valid. Holds as many tags as frames are in the engine at most, so that no tag is lost.
`default_nettype none

module vp_engine_tags #(
    int unsigned ENCODERS = 12,
    int unsigned FRAMES   = 4,   // in the engine at most
    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [TAG_W:0]   tag_in,
    output      logic [TAG_W:0]   tag_out,
    output      logic [TAG_W-1:0] encoder,
    output      logic             encoder_valid,
    input  wire logic             next
);
    logic room;
    always_ff @(posedge clk) tag_out <= rst_n ? tag_in : '0;
    vp_fifo #(.WIDTH(TAG_W), .DEPTH(FRAMES), .STYLE("distributed")) tags (
        .clk, .rst_n, .in_data(tag_out[TAG_W-1:0]), .in_valid(tag_out[TAG_W]), .in_ready(room),
        .out_data(encoder), .out_valid(encoder_valid), .out_ready(next)
    );

`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && tag_out[TAG_W] && !room) $fatal(1, "vp_engine_tags: a tag is lost");
    end
`endif
endmodule

`default_nettype wire
