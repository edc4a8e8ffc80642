// An engine of one unit between vp_engine_entry and vp_engine_exit, the FIFO at the entry, and the one that brings frames back. The unit
// counts in every beat how often it passed, and drops a frame's last beats where a later encoder has fewer. So an image goes through all
// encoders in their order, every unit sees the right tag, images leave in the order in which they came, the way back always has room, and
// an image of which all beats came leaves. With EMBEDS images have a pass before the encoders, the last one of ENCODERS, in which they go
// from the entry to the way back as they are, with one bit that FLIP inverts twice: at the entry and here.
`default_nettype none

module proof_engine #(
    int unsigned ENCODERS = 3,
    int unsigned BATCH    = 2,
    parameter logic [ENCODERS*32-1:0] ENTER = {32'd1, 32'd2, 32'd2},  // beats of a frame that enters encoder 2, 1, 0
    parameter logic [ENCODERS*32-1:0] LEAVE = {32'd1, 32'd1, 32'd2},  // that leaves
    int unsigned MOST     = 2,
    int unsigned LIMIT    = 40,
    int unsigned COUNT_BITS = 6,
    bit          EMBEDS   = 1'b0
) (
    input wire logic clk,
    input wire logic rst_n,
    input wire logic pick,
    input wire logic in_bit,
    input wire logic in_valid,
    input wire logic out_ready
);
    localparam int unsigned REAL = EMBEDS ? ENCODERS - 1 : ENCODERS;  // encoders
    localparam int unsigned FIRST = EMBEDS ? ENCODERS - 1 : 0;
    localparam int unsigned TAG_W = vp_pkg::width(REAL);
    localparam int unsigned WIDTH = 3;  // {passes, bit}
    localparam int unsigned CAME = ENTER[FIRST*32+:2];  // beats of an image
    localparam int unsigned FITS = BATCH * CAME + 2;  // beats in the FIFO at the entry, and in the entry before a frame begins
    logic in_ready, out_valid;
    logic [7:0] in_beat, out_beat, a, b, leaving, returning, back, fresh;
    logic returning_valid, returning_ready, fresh_valid, fresh_ready;
    wire logic [WIDTH-1:0] out_data = out_beat[WIDTH-1:0];
    assign in_beat = 8'(in_bit);
    logic a_valid, a_ready, b_valid, b_ready, leaving_valid, leaving_ready, back_valid, back_ready;
    logic [7:0] entry_tag, tag, next_tag;
    logic entry_tag_valid, entry_tag_ready, tag_valid, tag_ready, next_tag_valid, next_tag_ready;
    logic [7:0] fed, waiting;
    logic fed_valid, fed_ready, waiting_valid, waiting_ready;
    vp_engine_entry #(.WIDTH(WIDTH), .ENCODERS(ENCODERS), .BATCH(BATCH), .BEAT_BITS(2), .BEATS(ENTER), .COUNT_BITS(COUNT_BITS), .EMBEDS(EMBEDS), .FLIP_BITS(EMBEDS ? WIDTH : 0)) entry (
        .clk, .rst_n, .load_in('0), .load_out(), .in0_tdata(in_beat), .in0_tvalid(in_valid), .in0_tready(in_ready), .in1_tdata(back), .in1_tvalid(back_valid),
        .in1_tready(back_ready), .in2_tdata(waiting), .in2_tvalid(waiting_valid), .in2_tready(waiting_ready),
        .out1_tdata(fed), .out1_tvalid(fed_valid), .out1_tready(fed_ready), .out0_tdata(a), .out0_tvalid(a_valid), .out0_tready(a_ready),
        .out2_tdata(fresh), .out2_tvalid(fresh_valid), .out2_tready(fresh_ready),
        .tags_out_tdata(entry_tag), .tags_out_tvalid(entry_tag_valid), .tags_out_tready(entry_tag_ready)
    );

    function automatic logic [ENCODERS*128-1:0] shapes();  // of vp_engine_frame: none, one beat, the one before the last; the branch
        logic [1:0] beats;
        shapes = '0;
        for (int unsigned e = 0; e < ENCODERS; e++) begin
            beats = e == REAL - 1 ? 2'd0 : e == FIRST ? ENTER[e*32+:2] : LEAVE[e*32+:2];
            shapes[e*128+96+:32] = 32'(beats == 0);
            shapes[e*128+64+:32] = 32'(beats == 1);
            shapes[e*128+32+:32] = beats > 2 ? 32'(beats) - 2 : '0;
            shapes[e*128+:32]    = e == FIRST ? 32'd2 : 32'd1;
        end
    endfunction
    if (EMBEDS) begin : g_embeds
        logic [7:0] all_tag;
        logic all_valid, all_ready, merges_valid, merges_ready;
        logic [vp_pkg::width(ENCODERS)-1:0] merges;
        vp_engine_tag_fork #(.OUT(FIRST)) tag_fork (
            .clk, .rst_n, .in0_tdata(entry_tag), .in0_tvalid(entry_tag_valid), .in0_tready(entry_tag_ready), .out0_tdata(all_tag),
            .out0_tvalid(all_valid), .out0_tready(all_ready), .out1_tdata(tag), .out1_tvalid(tag_valid), .out1_tready(tag_ready)
        );
        vp_engine_tags #(.ENCODERS(ENCODERS), .FRAMES(3 * BATCH)) merge_tags (
            .clk, .rst_n, .tags_in_tdata(all_tag), .tags_in_tvalid(all_valid), .tags_in_tready(all_ready), .tags_out_tdata(),
            .tags_out_tvalid(), .tags_out_tready(1'b1), .encoder(merges), .encoder_valid(merges_valid), .next(merges_ready)
        );
        vp_engine_merge #(.WIDTH(WIDTH), .ENCODERS(ENCODERS), .BRANCHES(2), .COUNT_W(2), .SHAPES(shapes())) return_merge (
            .clk, .rst_n, .in_tdata({fresh ^ 8'(1 << WIDTH - 1), leaving}), .in_tvalid({fresh_valid, leaving_valid}),
            .in_tready({fresh_ready, leaving_ready}), .out0_tdata(returning), .out0_tvalid(returning_valid), .out0_tready(returning_ready),
            .encoder(merges), .encoder_valid(merges_valid), .encoder_ready(merges_ready), .load_in('0), .load_out()
        );
    end else begin : g_encoders
        assign {tag, tag_valid, entry_tag_ready} = {entry_tag, entry_tag_valid, tag_ready};
        assign {returning, returning_valid, leaving_ready, fresh_ready} = {leaving, leaving_valid, returning_ready, 1'b0};
    end

    vp_fifo #(.WIDTH(8), .DEPTH(BATCH * CAME), .STYLE("distributed")) batch (
        .clk, .rst_n, .in_data(fed), .in_valid(fed_valid), .in_ready(fed_ready),
        .out_data(waiting), .out_valid(waiting_valid), .out_ready(waiting_ready)
    );

    // --- the unit ---
    logic [TAG_W-1:0] encoder;
    logic encoder_valid;
    logic [1:0] beat_q;
    wire logic [1:0] enters = ENTER[encoder*32+:2];
    wire logic [1:0] leaves = LEAVE[encoder*32+:2];
    wire logic drop = beat_q >= leaves;
    wire logic take = a_valid && a_ready;
    wire logic frame_end = beat_q == enters - 2'd1;
    assign a_ready = encoder_valid && (drop || b_ready);
    assign b_valid = a_valid && encoder_valid && !drop;
    assign b       = {5'd0, a[2:1] + 2'd1, a[0]};
    vp_engine_tags #(.ENCODERS(REAL), .FRAMES(2 * BATCH)) unit (
        .clk, .rst_n, .tags_in_tdata(tag), .tags_in_tvalid(tag_valid), .tags_in_tready(tag_ready), .tags_out_tdata(next_tag),
        .tags_out_tvalid(next_tag_valid), .tags_out_tready(next_tag_ready), .encoder, .encoder_valid, .next(take && frame_end)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) beat_q <= '0;
        else if (take) beat_q <= frame_end ? '0 : beat_q + 1'b1;
    end

    logic [TAG_W-1:0] exits;
    logic exits_valid, exits_ready;
    vp_engine_tags #(.ENCODERS(REAL), .FRAMES(2 * BATCH)) exit_tags (
        .clk, .rst_n, .tags_in_tdata(next_tag), .tags_in_tvalid(next_tag_valid), .tags_in_tready(next_tag_ready), .tags_out_tdata(),
        .tags_out_tvalid(), .tags_out_tready(1'b1), .encoder(exits), .encoder_valid(exits_valid), .next(exits_ready)
    );
    vp_engine_exit #(.WIDTH(WIDTH), .ENCODERS(REAL), .BEAT_BITS(2), .BEATS(LEAVE[REAL*32-1:0])) exit (
        .clk, .rst_n, .load_in('0), .load_out(), .encoder(exits), .encoder_valid(exits_valid), .encoder_ready(exits_ready),
        .in0_tdata(b), .in0_tvalid(b_valid), .in0_tready(b_ready),
        .out1_tdata(leaving), .out1_tvalid(leaving_valid), .out1_tready(leaving_ready),
        .out0_tdata(out_beat), .out0_tvalid(out_valid), .out0_tready(out_ready)
    );
    vp_fifo #(.WIDTH(8), .DEPTH(BATCH * MOST), .STYLE("distributed")) way_back (
        .clk, .rst_n, .in_data(returning), .in_valid(returning_valid), .in_ready(returning_ready),
        .out_data(back), .out_valid(back_valid), .out_ready(back_ready)
    );

    // --- first beats of images, in order; images of which all beats came and the last one has not left ---
    logic [1:0] in_beat_q, out_beat_q;
    localparam int unsigned CAPACITY = 3 * BATCH + 1;
    logic [$clog2(CAPACITY+4)-1:0] held;
    logic [3:0] whole_q;
    wire logic came = in_valid && in_ready && in_beat_q == 2'(CAME - 1);
    wire logic left = out_valid && out_ready && out_beat_q == LEAVE[(REAL-1)*32+:2] - 2'd1;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            in_beat_q  <= '0;
            out_beat_q <= '0;
            whole_q    <= '0;
        end else begin
            if (in_valid && in_ready) in_beat_q <= came ? '0 : in_beat_q + 1'b1;
            if (out_valid && out_ready) out_beat_q <= left ? '0 : out_beat_q + 1'b1;
            whole_q <= whole_q + 4'(came) - 4'(left);
        end
    end
    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(1), .ASSUME(1'b1)) source (.clk, .rst_n, .data(in_bit), .valid(in_valid), .ready(in_ready));
    proof_hold #(.WIDTH(WIDTH)) hold (.clk, .rst_n, .data(out_data), .valid(out_valid), .ready(out_ready));
    proof_order #(.WIDTH(1), .CAPACITY(CAPACITY)) order (
        .clk, .rst_n, .pick, .push(in_valid && in_ready && in_beat_q == '0), .push_data(in_bit),
        .pop_valid(out_valid && out_beat_q == '0), .pop(out_valid && out_ready && out_beat_q == '0), .pop_data(out_data[0]), .held
    );
    always_comb begin
        if (rst_n) begin
            p_passes : assert (!out_valid || out_data[2:1] == 2'(REAL));
            p_encoder : assert (!(a_valid && encoder_valid) || 32'(encoder) == 32'(a[2:1]));
            p_room : assert (!returning_valid || returning_ready);
            p_unit_tag : assert (!unit.g_several.tag_valid || unit.g_several.ready[0]);
            p_exit_tag : assert (!exit_tags.g_several.tag_valid || exit_tags.g_several.ready[0]);
            p_whole : assert (!out_valid || whole_q != '0);
            p_counted : assert (entry.ahead_q >= -$signed(COUNT_BITS'(CAME)) && entry.ahead_q <= $signed(COUNT_BITS'(FITS)));
            c_cut : cover (in_beat_q != '0 && whole_q != '0 && entry.ahead_q < 0);
            c_batch : cover (entry.entered_q == BATCH && entry.encoder_q == REAL - 1);
            c_alone : cover (entry.size_q == 1 && entry.encoder_q == REAL - 1);
        end
    end
    // An image of which all beats came leaves, whatever else does not come.
    proof_progress #(.LIMIT(LIMIT), .TIGHT(1'b0)) out (.clk, .rst_n, .want(whole_q != '0 && out_ready), .done(out_valid));
endmodule

`default_nettype wire
