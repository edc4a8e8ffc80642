// Op top of VitSplit: of every token the first beats go to output 0, the rest to output 1, in order. A stalled output holds up the
// other one: buffering is the work of the FIFOs behind. A frame's first tokens have both parts; of the others the first part is
// taken and dropped. SHAPES are those of vp_engine_frame, its numbers those of shape_t.
`default_nettype none

module vp_stream_split #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 1,
    int unsigned BEAT_W   = 1,   // of a token's beats
    int unsigned TOKEN_W  = 1,   // of a frame's tokens
    parameter logic [ENCODERS*224-1:0] SHAPES = '0,
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
    output      logic [PADDED-1:0] out1_tdata,
    output      logic              out1_tvalid,
    input  wire logic              out1_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic              encoder_valid,
    output      logic              encoder_ready,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out
);
    typedef struct packed {
        logic [31:0] first_end, before_last;  // beats: the first part's last one, the last but one
        logic [31:0] all;                     // tokens have both parts
        logic [31:0] last_whole;              // token with both parts
    } shape_t;

    logic [WIDTH-1:0] x, y0, y1;
    logic x_valid, ready0, ready1, known, frame_end;
    logic second_q, last_q;  // the beat is one of the second part, is the token's last one
    logic cut_q;             // the first part is dropped
    logic [BEAT_W-1:0] beat_q;
    logic [TOKEN_W-1:0] token;
    shape_t shape;
    wire logic dropped = cut_q && !shape.all[0];
    wire logic x_ready = second_q ? ready1 : known && (ready0 || dropped);
    wire logic take = x_valid && x_ready;
    wire logic token_end = take && last_q;

    vp_engine_frame #(
        .ENCODERS(ENCODERS), .COUNT_W(TOKEN_W), .FIELDS($bits(shape_t) / 32), .SHAPES(SHAPES), .LOADED(LOADED),
        .FILE({UNIT, "_shapes.fill"})
    ) frame (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready,
        .value(shape), .of(), .known, .step(token_end), .count(token), .last(frame_end)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q   <= '0;
            second_q <= 1'b0;
            last_q   <= 1'b0;
            cut_q    <= 1'b0;
        end else if (take) begin
            beat_q   <= last_q ? '0 : beat_q + 1'b1;
            second_q <= !last_q && (second_q || beat_q == BEAT_W'(shape.first_end));
            last_q   <= !last_q && beat_q == BEAT_W'(shape.before_last);
            if (last_q) cut_q <= !frame_end && (cut_q || token == TOKEN_W'(shape.last_whole));
        end
    end

    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(x_ready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage0 (
        .clk, .rst_n, .in_data(x), .in_valid(known && x_valid && !second_q && !dropped), .in_ready(ready0),
        .out_data(y0), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage1 (
        .clk, .rst_n, .in_data(x), .in_valid(x_valid && second_q), .in_ready(ready1),
        .out_data(y1), .out_valid(out1_tvalid), .out_ready(out1_tready)
    );
    assign out0_tdata = PADDED'(y0);
    assign out1_tdata = PADDED'(y1);
endmodule

`default_nettype wire
