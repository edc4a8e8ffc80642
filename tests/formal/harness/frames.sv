// What a unit that encoders share promises of its tags: frame k that it takes is of the encoder that tag k says, and tags pass
// in their order, each once. A frame may come before its tag. While known, encoder is that of the frame which the unit takes;
// over comes with its last step, or at once where the encoder has no frame here.
`default_nettype none

module proof_tags #(
    int unsigned ENCODERS = 2,
    int unsigned FRAMES   = 2,   // tags that wait
    bit          AHEAD    = 1'b1,  // a register of two tags stands behind these (vp_engine_frame)
    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1
) (
    input wire logic             clk,
    input wire logic             rst_n,
    input wire logic [1:0]       pick,
    input wire logic [7:0]       tags_in_tdata,
    input wire logic             tags_in_tvalid,
    input wire logic             tags_in_tready,
    input wire logic [7:0]       tags_out_tdata,
    input wire logic             tags_out_tvalid,
    input wire logic             tags_out_tready,
    input wire logic [TAG_W-1:0] encoder,
    input wire logic             known,
    input wire logic             over
);
    localparam int unsigned ROOM = FRAMES + 3 + 2 * AHEAD;  // with tags at the input, and the one whose frame comes
    logic [1:0][$clog2(ROOM+4)-1:0] held;
    wire logic tag_in = tags_in_tvalid && tags_in_tready;
    always_comb a_encoder : assume (!tags_in_tvalid || tags_in_tdata < 8'(ENCODERS));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(tags_in_tdata), .valid(tags_in_tvalid), .ready(tags_in_tready)
    );
    proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(tags_out_tdata), .valid(tags_out_tvalid), .ready(tags_out_tready));
    proof_hold #(.WIDTH(TAG_W)) stays (.clk, .rst_n, .data(encoder), .valid(known), .ready(over));
    proof_order #(.WIDTH(TAG_W), .CAPACITY(ROOM)) frames (
        .clk, .rst_n, .pick(pick[0]), .push(tag_in), .push_data(tags_in_tdata[TAG_W-1:0]), .pop_valid(known), .pop(known && over),
        .pop_data(encoder), .held(held[0])
    );
    proof_order #(.WIDTH(TAG_W), .CAPACITY(3)) on (
        .clk, .rst_n, .pick(pick[1]), .push(tag_in), .push_data(tags_in_tdata[TAG_W-1:0]), .pop_valid(tags_out_tvalid),
        .pop(tags_out_tvalid && tags_out_tready), .pop_data(tags_out_tdata[TAG_W-1:0]), .held(held[1])
    );
    logic [TAG_W-1:0] before_q;
    always_ff @(posedge clk) if (known && over) before_q <= encoder;
    always_comb begin
        if (rst_n) begin
            p_padding : assert (tags_out_tdata[7:TAG_W] == '0);
            c_changes : cover (known && over && before_q != encoder);
        end
    end
    // Where tags go on a frame is known in time; where there is room for their frames they go on, whatever else stands still.
    proof_progress #(.LIMIT(4 + AHEAD), .TIGHT(1'b0)) come (.clk, .rst_n, .want(held[0] != '0 && tags_out_tready), .done(known));
    proof_progress #(.LIMIT(3), .TIGHT(1'b0)) go (
        .clk, .rst_n, .want(held[1] != '0 && tags_out_tready && held[0] <= FRAMES + 1), .done(tags_out_tvalid)
    );
endmodule

`default_nettype wire
