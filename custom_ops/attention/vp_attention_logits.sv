// First phase of attention: logit codes of one (query, head) item after the other, heads ascending.
// PE keys x SIMD channels a cycle, channel groups innermost, ceil(TOKENS / PE) * CHANNEL_GROUPS cycles per item and
// none between items. An item starts when its query slice, the frame's keys and a logit slot are there and
// then runs to its end, so nothing in the pipeline ever stalls. Finished items are announced; their row maximum comes a cycle
// after item_ready, their logits are read at l_addr (slots in a ring, key groups in order) until item_free.
// Keys take K_LATENCY cycles to read; query words are read later by as much.
// Every frame has the tokens, queries, heads and constants of its encoder. An item's encoder goes on beside its accumulators.
// With BIAS_WIDTH over 0 a sum begins with the position bias of its query and key, times 2^BIAS_SHIFT: a memory has a word a key group, in
// the order of the items, encoder after encoder.
`default_nettype none

module vp_attention_logits #(
    int unsigned ENCODERS    = 1,
    int unsigned TOKENS      = 17,  // at most, as QUERIES and HEADS
    int unsigned QUERIES     = 17,
    int unsigned HEADS       = 1,
    parameter logic [ENCODERS*96-1:0] SHAPES = '0,        // by encoder, see vp_attention_items
    parameter logic [ENCODERS*160-1:0] LOGIT_SHAPES = '0,  // ... of vp_attention_rowmax
    bit          LOADED      = 1'b0,  // both come through the load chain
    parameter    UNIT        = "",    // of files from which simulations fill them
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned SIMD        = 8,
    int unsigned PE          = 1,
    int unsigned IN_WIDTH    = 8,
    int unsigned LOGIT_WIDTH = 8,
    int unsigned LOGIT_SHIFT = 16,
    int unsigned LOGIT_SPAN  = 0,  // an encoder's shift is LOGIT_SHIFT less what LOGIT_SHAPES has for it, at most this
    int unsigned SLOTS       = 3,
    int unsigned K_LATENCY   = 3,  // 2 or more
    int unsigned BIAS_WIDTH  = 0,
    int unsigned BIAS_SHIFT  = 0,
    int unsigned BIAS_SPAN   = 0,  // an encoder's shift is BIAS_SHIFT less what BIAS_SHAPES has for it, at most this
    int unsigned BIAS_WORDS  = 1,  // of all encoders
    parameter logic [ENCODERS*64-1:0] BIAS_SHAPES = '0,  // by encoder, see bias_shape_t
    parameter    BIAS_FILE   = "",
    parameter    BIAS_STYLE  = "distributed",  // or "block"
    int unsigned BIAS_ROW    = 1,  // of vp_row_rom
    int unsigned BIAS_LATENCY = 1,  // of vp_row_rom
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned KEY_ADDR_W = $clog2(2 * HEADS * CHANNEL_GROUPS * KEY_GROUPS),
    localparam int unsigned DOT_LATENCY = 5 + ($clog2((SIMD + 3) / 4) + 1) / 2,
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic                        clk, rst_n,
    input  wire logic [33:0]                 load_in,
    output      logic [33:0]                 load_out,
    input  wire logic [TAG_W-1:0]            encoder,    // of the next frame
    input  wire logic                        encoder_valid,
    output      logic                        encoder_ready,
    input  wire logic [SIMD*IN_WIDTH-1:0]    q_data,
    input  wire logic                        q_valid,
    output      logic                        q_ready,
    input  wire logic                        k_whole,    // a frame's keys are there
    output      logic                        k_start,    // ... and are taken
    output      logic                        k_release,
    output      logic                        k_re,
    output      logic [KEY_ADDR_W-1:0]       k_addr,
    input  wire logic [PE*SIMD*IN_WIDTH-1:0] k_data,
    output      logic [LOGIT_WIDTH-1:0]      item_max,
    output      logic                        item_valid,
    input  wire logic                        item_ready,
    input  wire logic                        item_free,
    input  wire logic [$clog2(SLOTS * KEY_GROUPS)-1:0] l_addr,
    output      logic [PE*LOGIT_WIDTH-1:0]   l_data
);
    localparam int unsigned CHANNEL_GROUP_W = vp_pkg::width(CHANNEL_GROUPS);
    localparam int unsigned FRAME = HEADS * CHANNEL_GROUPS * KEY_GROUPS;
    localparam int unsigned SUMW = 2 * IN_WIDTH + $clog2(SIMD);
    localparam int unsigned PRODUCTS_W = 2 * IN_WIDTH + $clog2(SIMD * CHANNEL_GROUPS);
    localparam int unsigned BIASES_W = BIAS_WIDTH + BIAS_SHIFT;
    localparam int unsigned ACCW = BIAS_WIDTH == 0 ? PRODUCTS_W : (PRODUCTS_W > BIASES_W ? PRODUCTS_W : BIASES_W) + 1;

    // --- items ---
    logic [33:0] chain, bias_chain;
    logic [TAG_W-1:0] encoder_q;   // of the running item
    logic start, first, frame_ends, run_q, last_step, last_cg, q_ok, slot_ok;
    logic row_end_q, frame_end_q;  // the running item is the last of its query, of its frame
    logic k_slot_q;                // where the keys of the item after the running one are
    logic [CHANNEL_GROUP_W-1:0] cg;
    wire logic item_end = run_q && last_step;

    vp_attention_items #(
        .ENCODERS(ENCODERS), .STEPS(KEY_GROUPS * CHANNEL_GROUPS), .QUERIES(QUERIES), .HEADS(HEADS), .SHAPES(SHAPES), .LOADED(LOADED),
        .FILE({UNIT, "_item_shapes.fill"})
    ) items (
        .clk, .rst_n, .load_in, .load_out(chain), .encoder, .encoder_valid, .encoder_ready, .go(q_ok && slot_ok && (!first || k_whole)),
        .start, .next(), .first, .first_row(), .frame_ends, .run(run_q), .last(last_step), .row_end(row_end_q), .frame_end(frame_end_q),
        .of(encoder_q)
    );
    vp_counter #(.COUNT(CHANNEL_GROUPS)) cgs (.clk, .rst_n, .step(run_q), .count(cg), .last(last_cg));
    vp_credits #(.COUNT(SLOTS)) slots (.clk, .rst_n, .take(start), .give(item_free), .can_take(slot_ok));

    assign k_start = start && first;
    assign k_re    = run_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            k_slot_q  <= 1'b0;
            k_addr    <= '0;
            k_release <= 1'b0;
        end else begin
            k_release <= item_end && frame_end_q;
            if (start) k_slot_q <= k_slot_q ^ frame_ends;
            if (run_q) k_addr <= !(last_step && row_end_q) ? k_addr + 1'b1 : k_slot_q ? KEY_ADDR_W'(FRAME) : '0;
        end
    end

    // --- query slices: a ring of four, each read once per key group ---
    localparam int unsigned CG_BITS = $clog2(CHANNEL_GROUPS);
    localparam int unsigned QUERY_ADDR_W = 2 + CG_BITS;
    logic [1:0] w_slice, slice, r_slice;
    logic [CHANNEL_GROUP_W-1:0] w_cg, r_cg;
    logic w_last, r_end;
    logic [SIMD*IN_WIDTH-1:0] q_word;
    wire logic q_take = q_valid && q_ready;
    wire logic q_whole = q_take && w_last;

    vp_counter #(.COUNT(CHANNEL_GROUPS)) w_cgs (.clk, .rst_n, .step(q_take), .count(w_cg), .last(w_last));
    vp_counter #(.COUNT(4)) w_slices (.clk, .rst_n, .step(q_whole), .count(w_slice), .last());
    vp_counter #(.COUNT(4)) slices (.clk, .rst_n, .step(item_end), .count(slice), .last());
    vp_delay #(.WIDTH(3 + CHANNEL_GROUP_W), .LENGTH(K_LATENCY - 1)) q_reads (
        .clk, .rst_n, .in({item_end, slice, cg}), .out({r_end, r_slice, r_cg})
    );
    vp_credits #(.COUNT(4)) q_room (.clk, .rst_n, .take(q_whole), .give(r_end), .can_take(q_ready));
    vp_credits #(.COUNT(4), .FREE(0)) q_there (.clk, .rst_n, .take(start), .give(q_whole), .can_take(q_ok));
    vp_ram #(.DEPTH(4 << CG_BITS), .WIDTH(SIMD * IN_WIDTH), .STYLE("distributed")) queries (
        .clk, .we(q_take), .waddr(QUERY_ADDR_W'(w_slice) << CG_BITS | QUERY_ADDR_W'(w_cg)), .wdata(q_data),
        .re(1'b1), .zero(1'b0), .raddr(QUERY_ADDR_W'(r_slice) << CG_BITS | QUERY_ADDR_W'(r_cg)), .rdata(q_word)
    );

    // --- dot products and accumulation over the channel groups ---
    logic [PE*SUMW-1:0] sums;
    vp_attention_dot #(.OUT(PE), .IN(SIMD), .A_WIDTH(IN_WIDTH), .B_WIDTH(IN_WIDTH), .B_SIGNED(1'b1)) dot (
        .clk, .a(k_data), .b(q_word), .sums
    );

    // Tags come with the sums; first and last have registers of their own for each GROUP of keys.
    localparam int unsigned GROUP = 8;
    localparam int unsigned GROUPS = (PE + GROUP - 1) / GROUP;
    typedef struct packed {logic first, last;} tag_t;
    tag_t early;
    logic first_cg_q;
    tag_t [GROUPS-1:0] tags;
    logic [PE*ACCW-1:0] acc_q, acc_d;
    logic [PE-1:0] load;
    logic [TAG_W-1:0] load_encoder;
    always_ff @(posedge clk) begin
        if (!rst_n) first_cg_q <= 1'b1;
        else if (run_q) first_cg_q <= last_cg;
    end
    vp_delay #(.WIDTH(2), .LENGTH(K_LATENCY + DOT_LATENCY - 1)) tags_later (
        .clk, .rst_n, .in({run_q && first_cg_q, run_q && last_cg}), .out(early)
    );
    vp_delay #(.WIDTH(TAG_W), .LENGTH(K_LATENCY + DOT_LATENCY)) encoders_later (
        .clk, .rst_n(1'b1), .in(encoder_q), .out(load_encoder)
    );
    for (genvar g = 0; g < GROUPS; g++) begin : g_group
        vp_copy #(.WIDTH(2)) copy (.clk, .in(early), .out(tags[g]));
    end
    logic [PE*ACCW-1:0] begins;  // what sums begin with
    if (BIAS_WIDTH > 0) begin : g_bias
        typedef struct packed {
            logic [31:0] first;  // word of its frames
            logic [31:0] left;
        } bias_shape_t;
        localparam int unsigned ADDR_W = vp_pkg::width(BIAS_WORDS);
        localparam int unsigned LEFT_W = vp_pkg::width(BIAS_SPAN + 1);
        localparam int unsigned SHIFTS = BIAS_SPAN > 0 ? 1 : 0;  // cycles
        localparam int unsigned EARLY = BIAS_LATENCY + SHIFTS;   // the address, before the sum
        localparam int unsigned ROWS = (BIAS_WORDS + BIAS_ROW - 1) / BIAS_ROW;
        if (EARLY > K_LATENCY + DOT_LATENCY) $error("vp_attention_logits: position biases come later than sums, by %0d cycles", EARLY);
        bias_shape_t of_encoder;
        logic fresh_q;  // no word of the running item's frame was read
        logic [ADDR_W-1:0] addr_q, addr_later;
        logic [LEFT_W-1:0] left;
        logic [PE*BIAS_WIDTH-1:0] biases;
        logic [33:0] shapes_chain;
        logic we;
        logic [vp_pkg::width(BIAS_ROW)-1:0] waddr;
        logic [ROWS*PE*BIAS_WIDTH-1:0] wdata;
        vp_engine_values #(
            .ENCODERS(ENCODERS), .FIELDS($bits(bias_shape_t) / 32), .VALUES(BIAS_SHAPES), .LOADED(LOADED), .FILE({UNIT, "_bias_shapes.fill"})
        ) shapes (
            .clk, .rst_n, .load_in(chain), .load_out(shapes_chain), .encoder(encoder_q), .value(of_encoder)
        );
        wire logic [ADDR_W-1:0] addr = fresh_q ? ADDR_W'(of_encoder.first) : addr_q;
        always_ff @(posedge clk) begin
            if (!rst_n) fresh_q <= 1'b1;
            else if (run_q && last_cg) fresh_q <= last_step && frame_end_q;
            if (run_q && last_cg) addr_q <= addr + 1'b1;
        end
        vp_delay #(.WIDTH(ADDR_W), .LENGTH(K_LATENCY + DOT_LATENCY - EARLY)) addresses (
            .clk, .rst_n(1'b1), .in(addr), .out(addr_later)
        );
        vp_load_region #(.LOADED(LOADED), .DEPTH(BIAS_ROW), .WIDTH(ROWS * PE * BIAS_WIDTH)) region (
            .clk, .rst_n, .load_in(shapes_chain), .load_out(bias_chain), .we, .waddr, .data(wdata), .filled()
        );
        vp_row_rom #(
            .LOADED(LOADED), .DEPTH(BIAS_WORDS), .WIDTH(PE * BIAS_WIDTH), .FILE(BIAS_FILE), .STYLE(BIAS_STYLE), .ROW(BIAS_ROW)
        ) rows (
            .clk, .we, .waddr, .wdata, .addr(addr_later), .data(biases)
        );
        if (BIAS_SPAN > 0) begin : g_shifts
            vp_delay #(.WIDTH(LEFT_W), .LENGTH(K_LATENCY + DOT_LATENCY - 1)) lefts (
                .clk, .rst_n(1'b1), .in(LEFT_W'(of_encoder.left)), .out(left)
            );
            always_ff @(posedge clk) begin
                for (int unsigned i = 0; i < PE; i++) begin
                    begins[i*ACCW+:ACCW] <= ACCW'($signed(biases[i*BIAS_WIDTH+:BIAS_WIDTH])) << BIAS_SHIFT - 32'(left);
                end
            end
        end else begin : g_shift
            assign left = '0;
            for (genvar i = 0; i < PE; i++) begin : g_key
                assign begins[i*ACCW+:ACCW] = ACCW'($signed(biases[i*BIAS_WIDTH+:BIAS_WIDTH])) << BIAS_SHIFT;
            end
        end
    end else begin : g_no_bias
        assign begins = '0;
        assign bias_chain = chain;
    end
    always_comb begin
        for (int unsigned i = 0; i < PE; i++) begin
            load[i] = tags[i/GROUP].last;
            acc_d[i*ACCW+:ACCW] = ACCW'($signed(sums[i*SUMW+:SUMW])) + (tags[i/GROUP].first ? begins[i*ACCW+:ACCW] : acc_q[i*ACCW+:ACCW]);
        end
    end
    always_ff @(posedge clk) acc_q <= acc_d;

    vp_attention_rowmax #(
        .ENCODERS(ENCODERS), .TOKENS(TOKENS), .SHAPES(LOGIT_SHAPES), .LOADED(LOADED), .FILE({UNIT, "_logit_shapes.fill"}),
        .CHANNEL_GROUPS(CHANNEL_GROUPS), .PE(PE), .ACC_WIDTH(ACCW), .LOGIT_WIDTH(LOGIT_WIDTH), .LOGIT_SHIFT(LOGIT_SHIFT),
        .LOGIT_SPAN(LOGIT_SPAN), .SLOTS(SLOTS)
    ) rowmax (
        .clk, .rst_n, .load_in(bias_chain), .load_out, .encoder(load_encoder), .load, .acc(acc_d), .item_max, .item_valid, .item_ready, .l_addr, .l_data
    );
endmodule

`default_nettype wire
