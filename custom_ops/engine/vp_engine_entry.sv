// Lets frames into an engine: encoder 0 takes them from outside (in0), every other encoder from the engine's exit (in1). A batch is 1 to
// BATCH frames: those of encoder 0, then the same ones of encoder 1, and so on. A batch takes a further frame of encoder 0 where
// a whole one waits when the frame before has entered, and the next batch begins when this one has entered its last encoder. So at most
// BATCH frames are on their way back, which the FIFO behind the exit holds: the exit never waits for the entry. At most 2 BATCH
// frames are in the engine.
// Frames from outside wait in a FIFO of BATCH frames between out1 and in2; the entry counts the beats that go into it. The first frame
// of a batch begins with its first beat: no frame is in the engine then that still comes to the entry, so beats that do not come hold up
// none of which all beats came. A further one begins when all its beats are in the FIFO.
// With EMBEDS images from outside are no frames of encoder 0 yet: they have a pass of their own before it, whose tag is the last one, and
// take a way of their own (out2), on which codes may change their sign (FLIP_BITS). What it makes of an image comes from the exit's side,
// too, as the frame of encoder 0. The next pass begins while the last image of a batch still enters.
// A frame of encoder e has BEATS[e] beats. Its tag (vp_engine_tags) goes out before its first beat, but not before a beat of a new
// frame is there: an engine without frames knows of no encoder, and may be loaded anew.
`default_nettype none

module vp_engine_entry #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 3,
    int unsigned BATCH    = 2,
    int unsigned BEAT_BITS = 16,
    parameter logic [ENCODERS*32-1:0] BEATS = '0,  // by encoder
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    int unsigned COUNT_BITS = 32,  // of the number of beats in the FIFO
    bit          EMBEDS    = 1'b0,   // one of ENCODERS is a pass before the encoders, the last one by its tag
    int unsigned NEW_WIDTH = WIDTH,  // of a beat from outside
    int unsigned FLIP_BITS = 0,      // with EMBEDS: of a code whose top bit is inverted on out2; 0: codes stay as they are
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8,
    localparam int unsigned NEW_PADDED = (NEW_WIDTH + 7) / 8 * 8,
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic              clk, rst_n,
    input  wire logic [NEW_PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    input  wire logic [PADDED-1:0] in1_tdata,
    input  wire logic              in1_tvalid,
    output      logic              in1_tready,
    input  wire logic [NEW_PADDED-1:0] in2_tdata,
    input  wire logic              in2_tvalid,
    output      logic              in2_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    output      logic [NEW_PADDED-1:0] out1_tdata,
    output      logic              out1_tvalid,
    input  wire logic              out1_tready,
    output      logic [NEW_PADDED-1:0] out2_tdata,
    output      logic              out2_tvalid,
    input  wire logic              out2_tready,
    output      logic [7:0]        tags_out_tdata,
    output      logic              tags_out_tvalid,
    input  wire logic              tags_out_tready,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out
);
    localparam int unsigned FRAME_W = $clog2(BATCH + 1);
    localparam int unsigned FIRST = EMBEDS ? ENCODERS - 1 : 0;             // whose frames come from outside
    localparam int unsigned LAST  = EMBEDS ? ENCODERS - 2 : ENCODERS - 1;  // whose frames leave

    if (ENCODERS < 2 || BATCH < 1) $error("vp_engine_entry: ENCODERS %0d must be at least 2, BATCH %0d at least 1", ENCODERS, BATCH);
    if (!EMBEDS && NEW_WIDTH != WIDTH) $error("vp_engine_entry: NEW_WIDTH %0d must be WIDTH %0d without EMBEDS", NEW_WIDTH, WIDTH);
    if (FLIP_BITS > 0 && NEW_WIDTH % FLIP_BITS != 0) $error("vp_engine_entry: codes of %0d bits do not fill %0d", FLIP_BITS, NEW_WIDTH);

    logic [TAG_W-1:0] encoder_q;
    logic [FRAME_W-1:0] entered_q, size_q;  // frames of the batch that entered this encoder, that entered the first one
    logic [BEAT_BITS-1:0] left_q;                    // beats after this one
    logic fresh_q;                          // the encoder of frames from outside
    logic pass_q;                           // beats pass; else a frame is prepared
    logic last_q;                           // this beat is the frame's last one

    logic [NEW_WIDTH-1:0] fed_data, new_data;
    logic [WIDTH-1:0] old_data, passing, out_data;
    logic new_valid, new_ready, old_valid, valid, ready;
    logic entering_q;  // with EMBEDS: beats of an image pass on its way
    vp_skid #(.WIDTH(NEW_WIDTH)) to_fifo (
        .clk, .rst_n, .in_data(in0_tdata[NEW_WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(fed_data), .out_valid(out1_tvalid), .out_ready(out1_tready)
    );
    assign out1_tdata = NEW_PADDED'(fed_data);
    vp_skid #(.WIDTH(NEW_WIDTH)) from_fifo (
        .clk, .rst_n, .in_data(in2_tdata[NEW_WIDTH-1:0]), .in_valid(in2_tvalid), .in_ready(in2_tready),
        .out_data(new_data), .out_valid(new_valid), .out_ready(new_ready)
    );
    vp_skid #(.WIDTH(WIDTH)) from_exit (
        .clk, .rst_n, .in_data(in1_tdata[WIDTH-1:0]), .in_valid(in1_tvalid), .in_ready(in1_tready),
        .out_data(old_data), .out_valid(old_valid), .out_ready(ready && !fresh_q && pass_q)
    );

    logic [31:0] number;
    wire logic [BEAT_BITS-1:0] beats = number[BEAT_BITS-1:0];
    vp_engine_values #(.ENCODERS(ENCODERS), .VALUES(BEATS), .LOADED(LOADED), .FILE({UNIT, "_beats.fill"})) beats_of (
        .clk, .rst_n, .load_in, .load_out, .encoder(encoder_q), .value(number)
    );
    wire logic take = pass_q && valid && ready;

    // Between two frames: is this encoder's part of the batch complete?
    logic waits_q;  // in the FIFO, a whole frame; used in encoder 0, two cycles and more after a frame began
    wire logic alone = entered_q != '0 && !entering_q && !waits_q;
    wire logic complete = fresh_q ? entered_q == FRAME_W'(BATCH) || alone : entered_q == size_q;
    wire logic last_encoder = encoder_q == TAG_W'(LAST);
    logic tag_room;
    wire logic begin_frame = !pass_q && !complete && tag_room && (!fresh_q || (new_valid && !entering_q));

    // Beats in the FIFO that are of frames that have not begun, less those that one that has begun still lacks.
    logic signed [COUNT_BITS-1:0] ahead_q;
    always_ff @(posedge clk) begin
        if (!rst_n) ahead_q <= '0;
        else ahead_q <= ahead_q + COUNT_BITS'(out1_tvalid && out1_tready) - COUNT_BITS'(begin_frame && fresh_q ? beats : '0);
        waits_q <= ahead_q >= $signed(COUNT_BITS'(beats));
    end

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            encoder_q <= TAG_W'(FIRST);
            entered_q <= '0;
            fresh_q   <= 1'b1;
            pass_q    <= 1'b0;
        end else if (!pass_q) begin
            if (complete) begin
                encoder_q <= last_encoder ? TAG_W'(FIRST) : EMBEDS && fresh_q ? '0 : encoder_q + 1'b1;
                fresh_q   <= last_encoder;
                entered_q <= '0;
            end else if (EMBEDS && fresh_q) begin
                entered_q <= entered_q + FRAME_W'(begin_frame);
            end else begin
                pass_q <= begin_frame;
            end
        end else if (take && last_q) begin
            pass_q    <= 1'b0;
            entered_q <= entered_q + 1'b1;
        end
    end
    always_ff @(posedge clk) begin
        if (!pass_q) begin
            left_q  <= beats - 1'b1;
            last_q  <= beats == BEAT_BITS'(1);
            if (fresh_q) size_q <= entered_q;
        end else if (take) begin
            left_q  <= left_q - 1'b1;
            last_q  <= left_q == BEAT_BITS'(1);
        end
    end
    logic [TAG_W-1:0] tag;
    vp_stage #(.WIDTH(TAG_W)) tags (
        .clk, .rst_n, .in_data(encoder_q), .in_valid(begin_frame), .in_ready(tag_room),
        .out_data(tag), .out_valid(tags_out_tvalid), .out_ready(tags_out_tready)
    );
    assign tags_out_tdata = 8'(tag);

    vp_skid #(.WIDTH(WIDTH)) to_engine (
        .clk, .rst_n, .in_data(passing), .in_valid(pass_q && valid), .in_ready(ready),
        .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(out_data);

    if (EMBEDS) begin : g_embeds
        logic [BEAT_BITS-1:0] new_left_q;  // beats of the image after this one
        logic new_last_q, room;
        logic [NEW_WIDTH-1:0] codes, y;
        assign passing   = old_data;
        assign valid     = old_valid;
        assign new_ready = entering_q && room;
        always_comb begin
            codes = new_data;
            if (FLIP_BITS > 0) for (int unsigned c = FLIP_BITS; c <= NEW_WIDTH; c += FLIP_BITS) codes[c-1] = !new_data[c-1];
        end
        wire logic enters = entering_q && new_valid && room;
        always_ff @(posedge clk) begin
            if (!rst_n) entering_q <= 1'b0;
            else entering_q <= entering_q ? !(enters && new_last_q) : begin_frame && fresh_q;
        end
        always_ff @(posedge clk) begin
            if (!entering_q) begin
                new_left_q <= beats - 1'b1;
                new_last_q <= beats == BEAT_BITS'(1);
            end else if (enters) begin
                new_left_q <= new_left_q - 1'b1;
                new_last_q <= new_left_q == BEAT_BITS'(1);
            end
        end
        vp_skid #(.WIDTH(NEW_WIDTH)) to_embedding (
            .clk, .rst_n, .in_data(codes), .in_valid(entering_q && new_valid), .in_ready(room),
            .out_data(y), .out_valid(out2_tvalid), .out_ready(out2_tready)
        );
        assign out2_tdata = NEW_PADDED'(y);
    end else begin : g_encoders
        assign passing     = fresh_q ? new_data : old_data;
        assign valid       = fresh_q ? new_valid : old_valid;
        assign new_ready   = ready && fresh_q && pass_q;
        assign entering_q  = 1'b0;
        assign out2_tdata  = '0;
        assign out2_tvalid = 1'b0;
    end
endmodule

`default_nettype wire
