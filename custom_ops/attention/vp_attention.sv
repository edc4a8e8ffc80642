// Multi-head attention with deferred softmax on integer codes, bit-exact to numerics.attention.
// in0: queries, in1: a token's K channels, then its V channels, both SIMD codes a beat; out0: O, SIMD a
// beat; out1 (if SCORES): one score a token. K and V of a frame are held, double-buffered; one engine
// serves all heads in time: while one (query, head) item's logits are computed, the item before it is
// multiplied with V. QUERIES is the number of query tokens per frame (the first of which gives scores).
// Frames of several encoders may come in any order, also overlapping inside: the tags say whose the next one is. Encoders differ in
// tokens, queries, heads, whether they have scores, constants and exp table; TOKENS, QUERIES and HEADS are the most of them.
// With BIAS_WIDTH over 0 every pair of a query and a key has a position bias, by encoder and head, which is added to its product.
`default_nettype none

module vp_attention #(
    int unsigned ENCODERS    = 1,
    int unsigned TOKENS      = 17,
    int unsigned QUERIES     = 17,
    int unsigned HEADS       = 1,
    int unsigned SCORES      = 1,
    int unsigned HEAD_DIM    = 16,
    int unsigned SIMD        = 8,
    int unsigned PE          = 1,
    int unsigned LEAST_KEY_GROUPS = (TOKENS + PE - 1) / PE,  // of a frame at full rate; one with fewer takes longer than its items
    parameter logic [ENCODERS*128-1:0] KV_SHAPES = '0,       // by encoder, as all of these: of vp_attention_kv
    parameter logic [ENCODERS*96-1:0] ITEM_SHAPES = '0,      // ... of vp_attention_logits
    parameter logic [ENCODERS*160-1:0] LOGIT_SHAPES = '0,    // ... of vp_attention_rowmax
    parameter logic [ENCODERS*160-1:0] VALUE_SHAPES = '0,    // ... of vp_attention_values
    parameter logic [ENCODERS*32*((PE+31)/32)-1:0] PADDING = '0,
    parameter logic [ENCODERS*64-1:0] RECIP_NUMS = '0,
    parameter logic [ENCODERS*32-1:0] RECIP_LEFTS = '0,
    parameter logic [ENCODERS*64-1:0] SCORE_SHAPES = '0,     // ... of vp_attention_scores
    int unsigned IN_WIDTH    = 8,
    int unsigned OUT_WIDTH   = 8,
    int unsigned LOGIT_WIDTH = 8,
    int unsigned LOGIT_SHIFT = 16,
    int unsigned LOGIT_SPAN  = 0,      // an encoder's shift is LOGIT_SHIFT less its own, which is at most this
    int unsigned RECIP_SHIFT = 0,
    int unsigned RECIP_SPAN  = 0,      // likewise
    int unsigned RECIP_STAGES = 1,      // of the divider for O
    int unsigned DIVIDE_STAGES = 1,     // ... and for the scores
    int unsigned SLOTS       = 4,       // items whose logits are held, to hide the way between the phases
    int unsigned GROUPS_HELD = 64,      // channel groups that can wait for their reciprocal
    int unsigned OUT_DEPTH   = 16,      // beats of O under way or waiting
    int unsigned ACC_WIDTH   = 21,
    int unsigned Z_WIDTH     = 13,      // of a row sum
    int unsigned SCORE_WIDTH = 17,
    int unsigned SCORE_ROWS  = HEADS + 1,  // rows of E that can wait for their scores
    parameter    EXP_FILE    = "",
    parameter    RAM_STYLE   = "block", // of K and V
    int unsigned RAM_ROW     = 512,     // words of a row of it
    int unsigned KV_LATENCY  = 3,       // cycles of a read of them
    parameter    RING_STYLE  = "auto",  // of the E rows that wait for their scores
    int unsigned BIAS_WIDTH  = 0,       // of a position bias; this and the following as in vp_attention_logits
    int unsigned BIAS_SHIFT  = 0,
    int unsigned BIAS_SPAN   = 0,
    int unsigned BIAS_WORDS  = 1,
    parameter logic [ENCODERS*64-1:0] BIAS_SHAPES = '0,
    parameter    BIAS_FILE   = "",
    parameter    BIAS_STYLE  = "distributed",
    int unsigned BIAS_ROW    = 1,
    int unsigned BIAS_LATENCY = 1,
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    localparam int unsigned IN_TDATA_W = (SIMD * IN_WIDTH + 7) / 8 * 8,
    localparam int unsigned OUT_TDATA_W = (SIMD * OUT_WIDTH + 7) / 8 * 8,
    localparam int unsigned SCORE_TDATA_W = (SCORE_WIDTH + 7) / 8 * 8
) (
    input  wire logic          clk, rst_n,
    input  wire logic [IN_TDATA_W-1:0] in0_tdata,
    input  wire logic          in0_tvalid,
    output      logic          in0_tready,
    input  wire logic [IN_TDATA_W-1:0] in1_tdata,
    input  wire logic          in1_tvalid,
    output      logic          in1_tready,
    output      logic [OUT_TDATA_W-1:0] out0_tdata,
    output      logic          out0_tvalid,
    input  wire logic          out0_tready,
    output      logic [SCORE_TDATA_W-1:0] out1_tdata,
    output      logic          out1_tvalid,
    input  wire logic          out1_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic          encoder_valid,
    output      logic          encoder_ready,
    input  wire logic [33:0]   load_in,
    output      logic [33:0]   load_out
);
    logic [4:1][33:0] chain;

    if (TOKENS < 1 || QUERIES < 1 || HEADS < 1 || SIMD < 1 || PE < 1 || PE > TOKENS)
        $error("vp_attention: TOKENS %0d, QUERIES %0d, HEADS %0d, SIMD %0d, PE %0d: 1 or more, PE <= TOKENS",
               TOKENS, QUERIES, HEADS, SIMD, PE);
    if (HEAD_DIM % SIMD != 0) $error("vp_attention: SIMD %0d does not divide HEAD_DIM %0d", SIMD, HEAD_DIM);
    if (IN_WIDTH < 2 || IN_WIDTH > 8 || LOGIT_WIDTH < 2 || LOGIT_WIDTH > 8)
        $error("vp_attention: IN_WIDTH %0d and LOGIT_WIDTH %0d must be 2 to 8", IN_WIDTH, LOGIT_WIDTH);

    localparam int unsigned CHANNEL_GROUPS = HEAD_DIM / SIMD;
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE;
    localparam int unsigned W = SIMD * IN_WIDTH;
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS);

    logic [W-1:0] q_data, kv_data;
    logic q_valid, q_ready, kv_valid, kv_ready;
    logic k_whole, k_start, k_release, k_re, v_release, v_re;
    logic [$clog2(2 * HEADS * CHANNEL_GROUPS * KEY_GROUPS)-1:0] k_addr, v_addr;
    logic [PE*W-1:0] k_data, v_data;
    logic [LOGIT_WIDTH-1:0] item_max;
    logic item_valid, item_ready, item_free;
    logic [$clog2(SLOTS * KEY_GROUPS)-1:0] l_addr;
    logic [PE*LOGIT_WIDTH-1:0] l_data;
    logic room, take, score_room, score_take, acc_valid, z_valid, z_score, e_valid;
    logic [SIMD*ACC_WIDTH-1:0] acc;
    logic [Z_WIDTH-1:0] z;
    logic [PE*8-1:0] e;
    logic [SIMD*OUT_WIDTH-1:0] o_data;
    logic [TAG_W-1:0] acc_encoder, z_encoder;

    // --- each stage that counts has the order of frames ---
    logic [TAG_W-1:0] forked;
    logic [2:0][TAG_W-1:0] encoders;  // of the next frame in kv, logits, values
    logic [2:0] to_stage, stage_room, known, next;
    vp_fork #(.WIDTH(TAG_W), .NUM(3)) stages (
        .clk, .rst_n, .in_data(encoder), .in_valid(encoder_valid), .in_ready(encoder_ready),
        .out_data(forked), .out_valid(to_stage), .out_ready(stage_room)
    );
    for (genvar i = 0; i < 3; i++) begin : g_stage
        vp_skid #(.WIDTH(TAG_W)) skid (
            .clk, .rst_n, .in_data(forked), .in_valid(to_stage[i]), .in_ready(stage_room[i]),
            .out_data(encoders[i]), .out_valid(known[i]), .out_ready(next[i])
        );
    end

    vp_skid #(.WIDTH(W)) q_skid (
        .clk, .rst_n, .in_data(in0_tdata[W-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(q_data), .out_valid(q_valid), .out_ready(q_ready)
    );
    vp_skid #(.WIDTH(W)) kv_skid (
        .clk, .rst_n, .in_data(in1_tdata[W-1:0]), .in_valid(in1_tvalid), .in_ready(in1_tready),
        .out_data(kv_data), .out_valid(kv_valid), .out_ready(kv_ready)
    );
    vp_attention_kv #(
        .ENCODERS(ENCODERS), .TOKENS(TOKENS), .HEADS(HEADS), .SHAPES(KV_SHAPES), .LOADED(LOADED), .FILE({UNIT, "_kv_shapes.fill"}),
        .CHANNEL_GROUPS(CHANNEL_GROUPS), .SIMD(SIMD), .PE(PE), .WIDTH(IN_WIDTH), .STYLE(RAM_STYLE), .ROW(RAM_ROW)
    ) kv (
        .clk, .rst_n, .load_in, .load_out(chain[1]), .encoder(encoders[0]), .encoder_valid(known[0]), .encoder_ready(next[0]),
        .in_data(kv_data), .in_valid(kv_valid), .in_ready(kv_ready),
        .k_whole, .k_start, .k_release, .k_re, .k_addr, .k_data, .v_release, .v_re, .v_addr, .v_data
    );
    vp_attention_logits #(
        .ENCODERS(ENCODERS), .TOKENS(TOKENS), .QUERIES(QUERIES), .HEADS(HEADS), .SHAPES(ITEM_SHAPES), .LOGIT_SHAPES(LOGIT_SHAPES),
        .LOADED(LOADED), .UNIT(UNIT), .CHANNEL_GROUPS(CHANNEL_GROUPS), .SIMD(SIMD), .PE(PE), .IN_WIDTH(IN_WIDTH),
        .LOGIT_WIDTH(LOGIT_WIDTH), .LOGIT_SHIFT(LOGIT_SHIFT),
        .LOGIT_SPAN(LOGIT_SPAN), .SLOTS(SLOTS), .K_LATENCY(KV_LATENCY), .BIAS_WIDTH(BIAS_WIDTH), .BIAS_SHIFT(BIAS_SHIFT),
        .BIAS_SPAN(BIAS_SPAN), .BIAS_WORDS(BIAS_WORDS), .BIAS_SHAPES(BIAS_SHAPES), .BIAS_FILE(BIAS_FILE), .BIAS_STYLE(BIAS_STYLE), .BIAS_ROW(BIAS_ROW), .BIAS_LATENCY(BIAS_LATENCY)
    ) logits (
        .clk, .rst_n, .load_in(chain[1]), .load_out(chain[2]), .encoder(encoders[1]), .encoder_valid(known[1]), .encoder_ready(next[1]),
        .q_data, .q_valid, .q_ready, .k_whole, .k_start, .k_release, .k_re, .k_addr, .k_data,
        .item_max, .item_valid, .item_ready, .item_free, .l_addr, .l_data
    );
    vp_attention_values #(
        .ENCODERS(ENCODERS), .TOKENS(TOKENS), .QUERIES(QUERIES), .HEADS(HEADS), .SHAPES(VALUE_SHAPES), .PADDING(PADDING),
        .LOADED(LOADED), .UNIT(UNIT), .CHANNEL_GROUPS(CHANNEL_GROUPS), .SIMD(SIMD), .PE(PE), .IN_WIDTH(IN_WIDTH),
        .LOGIT_WIDTH(LOGIT_WIDTH), .SLOTS(SLOTS), .EXP_FILE(EXP_FILE), .V_LATENCY(KV_LATENCY)
    ) values (
        .clk, .rst_n, .load_in(chain[2]), .load_out(chain[3]), .encoder(encoders[2]), .encoder_valid(known[2]), .encoder_ready(next[2]),
        .item_max, .item_valid, .item_ready, .item_free, .l_addr, .l_data,
        .v_release, .v_re, .v_addr, .v_data, .room, .score_room, .take, .score_take,
        .acc_valid, .acc, .acc_encoder, .z_valid, .z_score, .z, .z_encoder, .e_valid, .e
    );
    vp_attention_norm #(
        .ENCODERS(ENCODERS), .CHANNEL_GROUPS(CHANNEL_GROUPS), .KEY_GROUPS(LEAST_KEY_GROUPS), .SIMD(SIMD), .DEPTH(GROUPS_HELD),
        .ACC_WIDTH(ACC_WIDTH), .Z_WIDTH(Z_WIDTH), .OUT_WIDTH(OUT_WIDTH), .RECIP_NUMS(RECIP_NUMS), .RECIP_LEFTS(RECIP_LEFTS), .LOADED(LOADED), .UNIT(UNIT),
        .RECIP_SHIFT(RECIP_SHIFT), .RECIP_SPAN(RECIP_SPAN), .RECIP_STAGES(RECIP_STAGES), .OUT_DEPTH(OUT_DEPTH)
    ) norm (
        .clk, .rst_n, .load_in(chain[3]), .load_out(chain[4]), .room, .take, .acc_valid, .acc, .acc_encoder, .z_valid, .z, .z_encoder,
        .out_data(o_data), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = OUT_TDATA_W'(o_data);

    if (SCORES != 0) begin : g_scores
        logic [SCORE_WIDTH-1:0] s_data;
        vp_attention_scores #(
            .ENCODERS(ENCODERS), .TOKENS(TOKENS), .HEADS(HEADS), .SHAPES(SCORE_SHAPES), .LOADED(LOADED),
            .FILE({UNIT, "_score_shapes.fill"}), .PE(PE), .Z_WIDTH(Z_WIDTH), .SCORE_WIDTH(SCORE_WIDTH), .DIVIDE_STAGES(DIVIDE_STAGES), .ROWS(SCORE_ROWS), .RING_STYLE(RING_STYLE)
        ) scores (
            .clk, .rst_n, .load_in(chain[4]), .load_out, .room(score_room), .take(score_take), .e_valid, .e,
            .z_valid(z_valid && z_score), .z, .z_encoder,
            .out_data(s_data), .out_valid(out1_tvalid), .out_ready(out1_tready)
        );
        assign out1_tdata = SCORE_TDATA_W'(s_data);
    end else begin : g_no_scores
        assign load_out    = chain[4];
        assign score_room  = 1'b1;
        assign out1_tdata  = '0;
        assign out1_tvalid = 1'b0;
    end
endmodule

`default_nettype wire
