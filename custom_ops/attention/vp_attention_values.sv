// Second phase of attention, item after item: E = table[max - logit] (vp_attention_exp) for PE keys a cycle, Z = sum of E,
// and sum_j E_j V_j for SIMD channels at once. Channel groups are outermost, so the logits of an item are
// read CHANNEL_GROUPS times; an item takes ceil(TOKENS / PE) * CHANNEL_GROUPS cycles and none lie between items. An item starts
// when the next stage has room for all of it (room, and score_room for items of query 0) and then runs to
// its end. The row sum z comes with the first channel group. V, which takes V_LATENCY cycles
// to read, is read ahead, so that it meets E.
// Every frame has the tokens, queries and heads of its encoder, the encoder's part of the exp table, and scores if that has some.
// Sums go on with their encoder.
`default_nettype none

module vp_attention_values #(
    int unsigned ENCODERS    = 1,
    int unsigned TOKENS      = 17,  // at most, as QUERIES and HEADS
    int unsigned QUERIES     = 17,
    int unsigned HEADS       = 1,
    int unsigned SIMD        = 8,
    int unsigned PE          = 1,
    parameter logic [ENCODERS*160-1:0] SHAPES = '0,  // by encoder: vp_attention_items, second key groups less 2, last scores
    parameter logic [ENCODERS*32*((PE+31)/32)-1:0] PADDING = '0,  // by encoder, a bit a key of the last group: there is none
    bit          LOADED      = 1'b0,  // these and the exp table come through the load chain
    parameter    UNIT        = "",    // of files from which simulations fill them
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned IN_WIDTH    = 8,
    int unsigned LOGIT_WIDTH = 8,
    int unsigned SLOTS       = 3,
    int unsigned V_LATENCY   = 3,
    parameter    EXP_FILE    = "",
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned VALUE_ADDR_W = $clog2(2 * HEADS * CHANNEL_GROUPS * KEY_GROUPS),
    localparam int unsigned LOGIT_ADDR_W = $clog2(SLOTS * KEY_GROUPS),
    localparam int unsigned ACC_WIDTH = IN_WIDTH + 8 + $clog2(TOKENS),
    localparam int unsigned Z_WIDTH = $clog2(255 * TOKENS + 1),
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic                        clk, rst_n,
    input  wire logic [33:0]                 load_in,
    output      logic [33:0]                 load_out,
    input  wire logic [TAG_W-1:0]            encoder,     // of the next frame
    input  wire logic                        encoder_valid,
    output      logic                        encoder_ready,
    input  wire logic [LOGIT_WIDTH-1:0]      item_max,    // of the item that item_ready took last
    input  wire logic                        item_valid,
    output      logic                        item_ready,
    output      logic                        item_free,
    output      logic [LOGIT_ADDR_W-1:0]     l_addr,
    input  wire logic [PE*LOGIT_WIDTH-1:0]   l_data,
    output      logic                        v_release,
    output      logic                        v_re,
    output      logic [VALUE_ADDR_W-1:0]     v_addr,
    input  wire logic [PE*SIMD*IN_WIDTH-1:0] v_data,
    input  wire logic                        room,
    input  wire logic                        score_room,
    output      logic                        take,        // an item starts and uses room
    output      logic                        score_take,  // an item of query 0 starts
    output      logic                        acc_valid,
    output      logic [SIMD*ACC_WIDTH-1:0]   acc,
    output      logic [TAG_W-1:0]            acc_encoder,
    output      logic                        z_valid,
    output      logic                        z_score,     // z is of query 0
    output      logic [Z_WIDTH-1:0]          z,
    output      logic [TAG_W-1:0]            z_encoder,
    output      logic                        e_valid,     // once per key group of query 0
    output      logic [PE*8-1:0]             e
);
    localparam int unsigned KEY_GROUP_W = vp_pkg::width(KEY_GROUPS);
    localparam int unsigned DOT_LATENCY = 5 + ($clog2((PE + 3) / 4) + 1) / 2;
    localparam int unsigned Z_LATENCY = 1 + ($clog2(PE) + 1) / 2;

    // --- items ---
    logic [33:0] chain;
    logic [4:0][31:0] next;
    logic [TAG_W-1:0] encoder_q;   // of the running item
    logic [KEY_GROUP_W:0] groups_q;
    logic start, first_row, run_q, last_step, last_kg;
    logic first_kg_q, first_cg_q;
    logic score_q;                 // the running item is of query 0 of a frame with scores
    logic row_end_q, frame_end_q;  // ... is the last of its query, of its frame
    logic [LOGIT_ADDR_W-1:0] l_addr_q, l_base_q, l_next_q;  // first words of the running item and of the next one
    wire logic score_next = first_row && next[0][0];
    wire logic item_end = run_q && last_step;

    vp_attention_items #(
        .ENCODERS(ENCODERS), .STEPS(KEY_GROUPS * CHANNEL_GROUPS), .QUERIES(QUERIES), .HEADS(HEADS), .FIELDS(5), .LATER(1),
        .SHAPES(SHAPES), .LOADED(LOADED), .FILE({UNIT, "_value_shapes.fill"})
    ) items (
        .clk, .rst_n, .load_in, .load_out(chain), .encoder, .encoder_valid, .encoder_ready,
        .go(item_valid && room && (!score_next || score_room)), .start, .next, .first(), .first_row, .frame_ends(), .run(run_q),
        .last(last_step), .row_end(row_end_q), .frame_end(frame_end_q), .of(encoder_q)
    );
    vp_sized_counter #(.MOST(KEY_GROUPS)) kgs (.clk, .rst_n, .less_2(groups_q), .step(run_q), .count(), .last(last_kg));

    assign item_ready = start;
    assign take       = start;
    assign score_take = start && score_next;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            first_kg_q   <= 1'b1;
            first_cg_q   <= 1'b1;
            item_free    <= 1'b0;
            l_addr_q     <= '0;
            l_base_q     <= '0;
            l_next_q     <= LOGIT_ADDR_W'(KEY_GROUPS);
        end else begin
            item_free <= item_end;
            if (run_q) begin
                first_kg_q <= last_kg;
                if (last_kg) first_cg_q <= last_step;
                l_addr_q <= last_step ? l_next_q : last_kg ? l_base_q : l_addr_q + 1'b1;
            end
            if (item_end) begin
                l_base_q <= l_next_q;
                l_next_q <= l_next_q == LOGIT_ADDR_W'((SLOTS - 1) * KEY_GROUPS) ? '0 : l_next_q + LOGIT_ADDR_W'(KEY_GROUPS);
            end
        end
        if (start) begin
            groups_q <= (KEY_GROUP_W + 1)'(next[3]);
            score_q  <= score_next;
        end
    end

    // --- tags: cycle 0 is the issue, then in the last three cycles before E and V: a logit's read, the logit, the
    // difference; a V that takes longer is read first ---
    localparam int unsigned E_TAG = V_LATENCY > 3 ? V_LATENCY : 3;
    localparam int unsigned V_TAG = E_TAG - V_LATENCY;
    typedef struct packed {logic valid, first, last, z, score, row_end, frame_end;} tag_t;
    localparam int unsigned DEPTH = E_TAG + (DOT_LATENCY > Z_LATENCY ? DOT_LATENCY : Z_LATENCY);
    tag_t [DEPTH:1] tags_q;
    wire tag_t tag = tag_t'{
        run_q, first_kg_q, run_q && last_kg, first_cg_q, score_q, last_step && row_end_q, last_step && frame_end_q
    };
    always_ff @(posedge clk) begin
        if (!rst_n) tags_q <= '0;
        else tags_q <= {tags_q[DEPTH-1:1], tag};
    end
    vp_delay #(.WIDTH(LOGIT_ADDR_W), .LENGTH(E_TAG - 3)) reads_later (.clk, .rst_n, .in(l_addr_q), .out(l_addr));

    // --- E, and the encoder: with the differences, with z, with acc ---
    logic [LOGIT_WIDTH-1:0] largest;
    logic [TAG_W-1:0] early, diff_encoder;
    logic [PE*8-1:0] e_now;
    vp_delay #(.WIDTH(LOGIT_WIDTH), .LENGTH(E_TAG - 3)) largest_later (.clk, .rst_n, .in(item_max), .out(largest));
    vp_delay #(.WIDTH(TAG_W), .LENGTH(E_TAG - 2)) to_exp (.clk, .rst_n(1'b1), .in(encoder_q), .out(early));
    vp_delay #(.WIDTH(TAG_W), .LENGTH(Z_LATENCY + 2)) to_z (.clk, .rst_n(1'b1), .in(diff_encoder), .out(z_encoder));
    vp_delay #(.WIDTH(TAG_W), .LENGTH(DOT_LATENCY + 2)) to_acc (.clk, .rst_n(1'b1), .in(diff_encoder), .out(acc_encoder));
    vp_attention_exp #(
        .ENCODERS(ENCODERS), .PE(PE), .LOGIT_WIDTH(LOGIT_WIDTH), .PADDING(PADDING), .LOADED(LOADED), .UNIT(UNIT), .EXP_FILE(EXP_FILE)
    ) exp (
        .clk, .rst_n, .load_in(chain), .load_out, .early, .of(diff_encoder), .largest, .logits(l_data), .last(tags_q[E_TAG-1].last),
        .e_now, .e
    );
    assign e_valid = tags_q[E_TAG+1].valid && tags_q[E_TAG+1].z && tags_q[E_TAG+1].score;

    // --- V words in order, again for each query ---
    localparam int unsigned FRAME = HEADS * CHANNEL_GROUPS * KEY_GROUPS;
    logic v_slot_q;
    tag_t v_tag;
    if (V_TAG == 0) begin : g_v_first
        assign v_tag = tag;
    end else begin : g_v_later
        assign v_tag = tags_q[V_TAG];
    end
    assign v_re = v_tag.valid;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            v_addr    <= '0;
            v_slot_q  <= 1'b0;
            v_release <= 1'b0;
        end else begin
            v_release <= v_tag.valid && v_tag.frame_end;
            if (v_tag.valid) begin
                v_slot_q <= v_slot_q ^ v_tag.frame_end;
                v_addr   <= !v_tag.row_end ? v_addr + 1'b1 : v_slot_q ^ v_tag.frame_end ? VALUE_ADDR_W'(FRAME) : '0;
            end
        end
    end

    // --- row sum ---
    logic [Z_WIDTH:0] z_part;
    logic [PE*9-1:0] e_signed;
    wire tag_t z_tag = tags_q[E_TAG+Z_LATENCY];
    always_comb begin
        for (int unsigned i = 0; i < PE; i++) e_signed[i*9+:9] = {1'b0, e[i*8+:8]};
    end
    vp_adder_tree #(.NUM(PE), .WIDTH(9), .SUM_WIDTH(Z_WIDTH + 1), .RADIX(2)) z_tree (
        .clk, .en(1'b1), .terms(e_signed), .sum(z_part)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) z_valid <= 1'b0;
        else z_valid <= z_tag.valid && z_tag.z && z_tag.last;
        z_score <= z_tag.score;
        z       <= z_part[Z_WIDTH-1:0] + (z_tag.first ? '0 : z);
    end

    // --- value product; first has a register of its own for each GROUP of channels ---
    localparam int unsigned SUMW = IN_WIDTH + 8 + $clog2(PE);
    localparam int unsigned GROUP = 8;
    localparam int unsigned GROUPS = (SIMD + GROUP - 1) / GROUP;
    wire tag_t acc_tag = tags_q[E_TAG+DOT_LATENCY];
    logic [GROUPS-1:0] first;
    logic [SIMD*PE*IN_WIDTH-1:0] v_turned;
    logic [SIMD*SUMW-1:0] sums;
    for (genvar g = 0; g < GROUPS; g++) begin : g_group
        vp_copy copy (.clk, .in(tags_q[E_TAG+DOT_LATENCY-1].first), .out(first[g]));
    end
    always_comb begin
        for (int unsigned c = 0; c < SIMD; c++)
            for (int unsigned k = 0; k < PE; k++)
                v_turned[(c*PE+k)*IN_WIDTH+:IN_WIDTH] = v_data[(k*SIMD+c)*IN_WIDTH+:IN_WIDTH];
    end
    vp_attention_dot #(.OUT(SIMD), .IN(PE), .A_WIDTH(IN_WIDTH), .B_WIDTH(8), .B_SIGNED(1'b0)) dot (
        .clk, .a(v_turned), .b(e_now), .sums
    );
    always_ff @(posedge clk) begin
        if (!rst_n) acc_valid <= 1'b0;
        else acc_valid <= acc_tag.valid && acc_tag.last;
        for (int unsigned c = 0; c < SIMD; c++)
            acc[c*ACC_WIDTH+:ACC_WIDTH] <= ACC_WIDTH'($signed(sums[c*SUMW+:SUMW]))
                                           + (first[c/GROUP] ? '0 : acc[c*ACC_WIDTH+:ACC_WIDTH]);
    end
endmodule

`default_nettype wire
