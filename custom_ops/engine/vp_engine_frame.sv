// What a stage of an engine's unit has to know of the frame that it takes: constants of its encoder, and which step is its
// last one. SHAPES has of each encoder, whether it has no frame, so that its tag just passes; whether a frame is one step (a beat, or
// a token); the step before the last one; and FIELDS numbers of the unit.
// While known, value, count and last are those of the step that comes next: the frame's own until its last step, then at
// once those of the next frame whose tag is here. With one encoder they are always known, and value is a constant.
`default_nettype none

module vp_engine_frame #(
    int unsigned ENCODERS = 1,
    int unsigned COUNT_W  = 4,   // of a frame's steps
    int unsigned FIELDS   = 1,   // 0 or more
    parameter logic [ENCODERS*(3+FIELDS)*32-1:0] SHAPES = '0,  // the first encoder's lowest
    bit          LOADED   = 1'b0,  // they come through the load chain
    parameter    FILE     = "",
    localparam int unsigned WIDTH = FIELDS > 0 ? 32 * FIELDS : 1,
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic               clk, rst_n,
    input  wire logic [33:0]        load_in,
    output      logic [33:0]        load_out,
    input  wire logic [TAG_W-1:0]   encoder,  // of the next frame
    input  wire logic               encoder_valid,
    output      logic               encoder_ready,
    output      logic [WIDTH-1:0]   value,
    output      logic [TAG_W-1:0]   of,       // its encoder
    output      logic               known,
    input  wire logic               step,     // only while known
    output      logic [COUNT_W-1:0] count,    // steps of the frame that are done
    output      logic               last
);
    localparam int unsigned SHAPE_W = 32 * (3 + FIELDS);

    logic [TAG_W-1:0] next;
    logic next_valid, next_ready, frame_valid, last_q;
    logic [SHAPE_W-1:0] shape;
    logic [COUNT_W-1:0] count_q;
    wire logic none = shape[SHAPE_W-32];
    wire logic one = shape[SHAPE_W-64];
    wire logic [COUNT_W-1:0] before_last = COUNT_W'(shape[SHAPE_W-96+:32]);
    assign value = FIELDS > 0 ? shape[WIDTH-1:0] : '0;
    assign known = frame_valid && !none;
    assign count = count_q;
    assign last  = one || last_q;

    // The frame's end does not reach as far as the held tags' RAM.
    vp_skid #(.WIDTH(TAG_W)) skid (
        .clk, .rst_n, .in_data(encoder), .in_valid(encoder_valid), .in_ready(encoder_ready),
        .out_data(next), .out_valid(next_valid), .out_ready(next_ready)
    );
    vp_engine_table #(.ENCODERS(ENCODERS), .FIELDS(3 + FIELDS), .VALUES(SHAPES), .LOADED(LOADED), .FILE(FILE)) table_i (
        .clk, .rst_n, .load_in, .load_out, .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready),
        .value(shape), .of, .value_valid(frame_valid), .value_ready(none || (step && last))
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            count_q <= '0;
            last_q  <= 1'b0;
        end else if (step) begin
            count_q <= last ? '0 : count_q + 1'b1;
            last_q  <= !last && count_q == before_last;
        end
    end
endmodule

`default_nettype wire
