// Op top of VitSelectToken: of every frame of FRAME beats, passes those from FIRST to LAST, a token or all of them, and takes
// the others without waiting for its output.
`default_nettype none

module vp_select_token #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 1,
    int unsigned FRAMES   = 4,   // tags that wait
    int unsigned BEAT_W   = 4,   // of a frame's beats
    parameter logic [ENCODERS*32-1:0] FRAME = 2, FIRST = 0, LAST = 0,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic              rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    input  wire logic [7:0]        tags_in_tdata,
    input  wire logic              tags_in_tvalid,
    output      logic              tags_in_tready,
    output      logic [7:0]        tags_out_tdata,
    output      logic              tags_out_tvalid,
    input  wire logic              tags_out_tready
);
    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1;
    typedef struct packed {
        logic [BEAT_W-1:0] last;   // beat of the frame
        logic [BEAT_W-1:0] first_passed, last_passed;
    } shape_t;
    function automatic logic [ENCODERS-1:0][$bits(shape_t)-1:0] shapes();
        for (int unsigned e = 0; e < ENCODERS; e++) begin
            shapes[e] = shape_t'{
                BEAT_W'(FRAME[e*32+:32] - 1), BEAT_W'(FIRST[e*32+:32]), BEAT_W'(LAST[e*32+:32])
            };
        end
    endfunction

    logic [TAG_W-1:0] encoder;
    logic encoder_valid, encoder_ready, known;
    shape_t shape;
    vp_engine_tags #(.ENCODERS(ENCODERS), .FRAMES(FRAMES)) tags (
        .clk, .rst_n, .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid, .tags_out_tready,
        .encoder, .encoder_valid, .next(encoder_ready)
    );

    logic [WIDTH-1:0] x, y;
    logic x_valid, y_ready;
    logic [BEAT_W-1:0] beat_q;
    logic passed_q;  // the beats up to here have all passed
    wire logic chosen = beat_q >= shape.first_passed && !passed_q;
    wire logic x_ready = known && (!chosen || y_ready);
    wire logic frame_end = beat_q == shape.last;
    wire logic take = x_valid && x_ready;

    vp_engine_table #(.ENCODERS(ENCODERS), .WIDTH($bits(shape_t)), .VALUES(shapes())) table_i (
        .clk, .rst_n, .encoder, .encoder_valid, .encoder_ready,
        .value(shape), .value_valid(known), .value_ready(take && frame_end)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q   <= '0;
            passed_q <= 1'b0;
        end else if (take) begin
            beat_q   <= frame_end ? '0 : beat_q + 1'b1;
            passed_q <= !frame_end && (passed_q || beat_q == shape.last_passed);
        end
    end

    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(x_ready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage (
        .clk, .rst_n, .in_data(x), .in_valid(known && x_valid && chosen), .in_ready(y_ready),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
