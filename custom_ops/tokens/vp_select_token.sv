// Op top of VitSelectToken: of every frame, passes the beats of some tokens, one after another, and takes the others without waiting for
// its output. SHAPES says of each encoder which beats these are, and which one ends a frame.
`default_nettype none

module vp_select_token #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 1,
    int unsigned BEAT_W   = 4,   // of a frame's beats
    parameter logic [ENCODERS*96-1:0] SHAPES = '0,  // see shape_t
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic              encoder_valid,
    output      logic              encoder_ready,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out
);
    typedef struct packed {
        logic [31:0] last;  // beat of the frame
        logic [31:0] first_passed, last_passed;
    } shape_t;

    logic known;
    shape_t shape;

    logic [WIDTH-1:0] x, y;
    logic x_valid, y_ready;
    logic [BEAT_W-1:0] beat_q;
    logic passed_q;  // the beats up to here have all passed
    wire logic chosen = beat_q >= BEAT_W'(shape.first_passed) && !passed_q;
    wire logic x_ready = known && (!chosen || y_ready);
    wire logic frame_end = beat_q == BEAT_W'(shape.last);
    wire logic take = x_valid && x_ready;

    vp_engine_table #(
        .ENCODERS(ENCODERS), .FIELDS($bits(shape_t) / 32), .VALUES(SHAPES), .LOADED(LOADED), .FILE({UNIT, "_shapes.fill"})
    ) table_i (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready,
        .value(shape), .of(), .value_valid(known), .value_ready(take && frame_end)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q   <= '0;
            passed_q <= 1'b0;
        end else if (take) begin
            beat_q   <= frame_end ? '0 : beat_q + 1'b1;
            passed_q <= !frame_end && (passed_q || beat_q == BEAT_W'(shape.last_passed));
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
