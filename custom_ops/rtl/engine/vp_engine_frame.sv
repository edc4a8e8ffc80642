// What a stage of an engine's unit has to know of the frame that it takes: constants of its encoder, and which step is its
// last one. A frame of encoder e is STEPS[e] steps (beats, or tokens); where that is 0 there is none, and its tag just passes.
// While known, value, count and last are those of the step that comes next: the frame's own until its last step, then at
// once those of the next frame whose tag is here. With one encoder they are always known, and value is a constant.
`default_nettype none

module vp_engine_frame #(
    int unsigned ENCODERS = 1,
    int unsigned FRAMES   = 4,   // tags that wait
    int unsigned COUNT_W  = 4,   // of a frame's steps
    int unsigned WIDTH    = 1,
    parameter logic [ENCODERS*32-1:0] STEPS = 1,
    parameter logic [ENCODERS*WIDTH-1:0] VALUES = '0  // the first encoder's lowest
) (
    input  wire logic               clk,
    input  wire logic               rst_n,
    input  wire logic [7:0]         tags_in_tdata,
    input  wire logic               tags_in_tvalid,
    output      logic               tags_in_tready,
    output      logic [7:0]         tags_out_tdata,
    output      logic               tags_out_tvalid,
    input  wire logic               tags_out_tready,
    output      logic [WIDTH-1:0]   value,
    output      logic               known,
    input  wire logic               step,     // only while known
    output      logic [COUNT_W-1:0] count,    // steps of the frame that are done
    output      logic               last
);
    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1;
    typedef struct packed {
        logic none;                       // no frame
        logic one;                        // step, the last one
        logic [COUNT_W-1:0] before_last;  // step
        logic [WIDTH-1:0] value;
    } frame_t;
    function automatic logic [ENCODERS-1:0][$bits(frame_t)-1:0] frames();
        for (int unsigned e = 0; e < ENCODERS; e++) begin
            frames[e] = frame_t'{
                STEPS[e*32+:32] == 0, STEPS[e*32+:32] == 1, COUNT_W'(STEPS[e*32+:32] - 2), VALUES[e*WIDTH+:WIDTH]
            };
        end
    endfunction

    logic [TAG_W-1:0] held, encoder;
    logic held_valid, held_ready, encoder_valid, encoder_ready, frame_valid, last_q;
    frame_t frame;
    logic [COUNT_W-1:0] count_q;
    assign value = frame.value;
    assign known = frame_valid && !frame.none;
    assign count = count_q;
    assign last  = frame.one || last_q;

    vp_engine_tags #(.ENCODERS(ENCODERS), .FRAMES(FRAMES)) tags (
        .clk, .rst_n, .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid, .tags_out_tready,
        .encoder(held), .encoder_valid(held_valid), .next(held_ready)
    );
    // The frame's end does not reach as far as the held tags' RAM.
    vp_skid #(.WIDTH(TAG_W)) skid (
        .clk, .rst_n, .in_data(held), .in_valid(held_valid), .in_ready(held_ready),
        .out_data(encoder), .out_valid(encoder_valid), .out_ready(encoder_ready)
    );
    vp_engine_table #(.ENCODERS(ENCODERS), .WIDTH($bits(frame_t)), .VALUES(frames())) table_i (
        .clk, .rst_n, .encoder, .encoder_valid, .encoder_ready,
        .value(frame), .value_valid(frame_valid), .value_ready(frame.none || (step && last))
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            count_q <= '0;
            last_q  <= 1'b0;
        end else if (step) begin
            count_q <= last ? '0 : count_q + 1'b1;
            last_q  <= !last && count_q == frame.before_last;
        end
    end
endmodule

`default_nettype wire
