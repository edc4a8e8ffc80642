// Where frames leave the last unit of an engine: those of the last encoder go out (out0), all others back to the entry (out1). A frame that
// leaves encoder e has BEATS[e] beats.
`default_nettype none

module vp_engine_exit #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 3,
    int unsigned BEAT_BITS = 16,
    parameter logic [ENCODERS*32-1:0] BEATS = '0,  // by encoder
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8,
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic              clk, rst_n,
    input  wire logic [TAG_W-1:0]  encoder,  // of the next frame
    input  wire logic              encoder_valid,
    output      logic              encoder_ready,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    output      logic [PADDED-1:0] out1_tdata,
    output      logic              out1_tvalid,
    input  wire logic              out1_tready,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out
);
    logic [WIDTH-1:0] data, back, leaving;
    logic valid, back_room, out_room;
    logic [BEAT_BITS-1:0] left_q;  // beats after this one
    logic pass_q;         // beats pass; else a frame is prepared
    logic leaves_q, last_q;
    logic [31:0] number;
    wire logic [BEAT_BITS-1:0] beats = number[BEAT_BITS-1:0];
    vp_engine_values #(.ENCODERS(ENCODERS), .VALUES(BEATS), .LOADED(LOADED), .FILE({UNIT, "_beats.fill"})) beats_of (
        .clk, .rst_n, .load_in, .load_out, .encoder, .value(number)
    );
    wire logic take = pass_q && valid && (leaves_q ? out_room : back_room);

    assign encoder_ready = !pass_q;
    vp_skid #(.WIDTH(WIDTH)) from_engine (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready), .out_data(data), .out_valid(valid), .out_ready(take)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) pass_q <= 1'b0;
        else pass_q <= pass_q ? !(take && last_q) : encoder_valid;
    end
    always_ff @(posedge clk) begin
        if (!pass_q) begin
            left_q   <= beats - 1'b1;
            last_q   <= beats == BEAT_BITS'(1);
            leaves_q <= encoder == TAG_W'(ENCODERS - 1);
        end else if (take) begin
            left_q <= left_q - 1'b1;
            last_q <= left_q == BEAT_BITS'(1);
        end
    end
    vp_skid #(.WIDTH(WIDTH)) to_entry (
        .clk, .rst_n, .in_data(data), .in_valid(pass_q && valid && !leaves_q), .in_ready(back_room),
        .out_data(back), .out_valid(out1_tvalid), .out_ready(out1_tready)
    );
    vp_skid #(.WIDTH(WIDTH)) to_outside (
        .clk, .rst_n, .in_data(data), .in_valid(pass_q && valid && leaves_q), .in_ready(out_room),
        .out_data(leaving), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(leaving);
    assign out1_tdata = PADDED'(back);
endmodule

`default_nettype wire
