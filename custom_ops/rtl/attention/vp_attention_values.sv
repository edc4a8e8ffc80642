// Second phase of attention, item after item: E = table[max - logit] for PE keys a cycle, Z = sum of E,
// and sum_j E_j V_j for SIMD channels at once. Channel groups are outermost, so the logits of an item are
// read CHANNEL_GROUPS times; an item takes ceil(TOKENS / PE) * CHANNEL_GROUPS cycles and none lie between items. An item starts
// when the next stage has room for all of it (room, and score_room for items of query 0) and then runs to
// its end. The row sum z comes with the first channel group. Padding keys have E = 0. V, which takes V_LATENCY cycles
// to read, is read ahead, so that it meets E.
`default_nettype none

module vp_attention_values #(
    int unsigned TOKENS      = 17,
    int unsigned QUERIES     = 17,
    int unsigned HEADS       = 1,
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned SIMD        = 8,
    int unsigned PE          = 1,
    int unsigned IN_WIDTH    = 8,
    int unsigned LOGIT_WIDTH = 8,
    int unsigned SLOTS       = 3,
    int unsigned V_LATENCY   = 1,
    parameter    EXP_FILE    = "",
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned VALUE_ADDR_W = $clog2(2 * HEADS * CHANNEL_GROUPS * KEY_GROUPS),
    localparam int unsigned LOGIT_ADDR_W = $clog2(SLOTS * KEY_GROUPS),
    localparam int unsigned ACC_WIDTH = IN_WIDTH + 8 + $clog2(TOKENS),
    localparam int unsigned Z_WIDTH = $clog2(255 * TOKENS + 1)
) (
    input  wire logic                        clk,
    input  wire logic                        rst_n,
    input  wire logic [LOGIT_WIDTH-1:0]      item_max,
    input  wire logic                        item_valid,
    output      logic                        item_ready,
    output      logic                        item_free,
    output      logic                        l_re,
    output      logic [LOGIT_ADDR_W-1:0]              l_addr,
    input  wire logic [PE*LOGIT_WIDTH-1:0]   l_data,
    output      logic                        v_release,
    output      logic                        v_re,
    output      logic [VALUE_ADDR_W-1:0]              v_addr,
    input  wire logic [PE*SIMD*IN_WIDTH-1:0] v_data,
    input  wire logic                        room,
    input  wire logic                        score_room,
    output      logic                        take,        // an item starts and uses room
    output      logic                        score_take,  // an item of query 0 starts
    output      logic                        acc_valid,
    output      logic [SIMD*ACC_WIDTH-1:0]   acc,
    output      logic                        z_valid,
    output      logic                        z_score,     // z is of query 0
    output      logic [Z_WIDTH-1:0]          z,
    output      logic                        e_valid,     // once per key group of query 0
    output      logic [PE*8-1:0]             e
);
    localparam int unsigned CHANNEL_GROUP_W = CHANNEL_GROUPS > 1 ? $clog2(CHANNEL_GROUPS) : 1;
    localparam int unsigned KEY_GROUP_W = KEY_GROUPS > 1 ? $clog2(KEY_GROUPS) : 1;
    localparam int unsigned HEAD_W = HEADS > 1 ? $clog2(HEADS) : 1;
    localparam int unsigned QUERY_W = QUERIES > 1 ? $clog2(QUERIES) : 1;
    localparam int unsigned REST = TOKENS - (KEY_GROUPS - 1) * PE;  // keys in the last group
    localparam int unsigned DOT_LATENCY = 4 + ($clog2((PE + 3) / 4) + 1) / 2;
    localparam int unsigned Z_LATENCY = ($clog2(PE) + 1) / 2;

    // --- issue ---
    logic run_q;
    logic [CHANNEL_GROUP_W-1:0] cg_q;
    logic [KEY_GROUP_W-1:0] kg_q;
    logic [HEAD_W-1:0] head_q;
    logic [QUERY_W-1:0] query_q;
    logic [LOGIT_ADDR_W-1:0] l_addr_q, l_base_q;
    wire logic last_kg = kg_q == KEY_GROUP_W'(KEY_GROUPS - 1);
    wire logic last_item = run_q && last_kg && cg_q == CHANNEL_GROUP_W'(CHANNEL_GROUPS - 1);
    wire logic last_query = last_item && head_q == HEAD_W'(HEADS - 1);
    wire logic last_frame = last_query && query_q == QUERY_W'(QUERIES - 1);
    wire logic query_zero = query_q == '0;
    wire logic score_next = last_query ? last_frame : query_zero;  // the item to start is of query 0
    wire logic start = (!run_q || last_item) && item_valid && room && (!score_next || score_room);
    wire logic [LOGIT_ADDR_W-1:0] l_base_d = l_base_q == LOGIT_ADDR_W'((SLOTS - 1) * KEY_GROUPS) ? '0 : l_base_q + LOGIT_ADDR_W'(KEY_GROUPS);

    assign item_ready = start;
    assign take       = start;
    assign score_take = start && score_next;
    assign item_free  = last_item;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            run_q    <= 1'b0;
            cg_q     <= '0;
            kg_q     <= '0;
            head_q   <= '0;
            query_q  <= '0;
            l_addr_q <= '0;
            l_base_q <= '0;
        end else begin
            if (start) run_q <= 1'b1;
            else if (last_item) run_q <= 1'b0;
            if (run_q) begin
                kg_q <= last_kg ? '0 : kg_q + 1'b1;
                if (last_kg) cg_q <= last_item ? '0 : cg_q + 1'b1;
                if (last_item) head_q <= last_query ? '0 : head_q + 1'b1;
                if (last_query) query_q <= last_frame ? '0 : query_q + 1'b1;
                if (last_item) l_base_q <= l_base_d;
                l_addr_q <= last_item ? l_base_d : last_kg ? l_base_q : l_addr_q + 1'b1;
            end
        end
    end

    // --- tags: cycle 0 is the issue, then in the last three cycles before E and V: a logit's read, the logit, the
    // difference; a V that takes longer is read first ---
    localparam int unsigned E_TAG = V_LATENCY > 3 ? V_LATENCY : 3;
    localparam int unsigned V_TAG = E_TAG - V_LATENCY;
    typedef struct packed {logic valid, first, last, z, score, done;} tag_t;
    localparam int unsigned DEPTH = E_TAG + (DOT_LATENCY > Z_LATENCY ? DOT_LATENCY : Z_LATENCY);
    tag_t [DEPTH:1] tags_q;
    wire tag_t tag = tag_t'{run_q, kg_q == '0, last_kg, cg_q == '0, query_zero, last_frame};
    always_ff @(posedge clk) begin
        if (!rst_n) tags_q <= '0;
        else tags_q <= {tags_q[DEPTH-1:1], tag};
    end
    vp_delay #(.WIDTH(1 + LOGIT_ADDR_W), .LENGTH(E_TAG - 3)) reads_later (
        .clk, .rst_n, .in({run_q, l_addr_q}), .out({l_re, l_addr})
    );

    // --- E of PE keys ---
    logic [LOGIT_WIDTH-1:0] max_q, max_hold_q, max_later;
    logic [PE*LOGIT_WIDTH-1:0] diff_q;
    logic [PE*8-1:0] entry, e_now;
    always_ff @(posedge clk) begin
        if (start) max_hold_q <= item_max;
        max_q <= max_later;
    end
    vp_delay #(.WIDTH(LOGIT_WIDTH), .LENGTH(E_TAG - 3)) largest_later (
        .clk, .rst_n, .in(max_hold_q), .out(max_later)
    );
    for (genvar i = 0; i < PE; i++) begin : g_exp
        always_ff @(posedge clk)
            diff_q[i*LOGIT_WIDTH+:LOGIT_WIDTH] <= max_q - l_data[i*LOGIT_WIDTH+:LOGIT_WIDTH];
        vp_rom #(.DEPTH(1 << LOGIT_WIDTH), .WIDTH(8), .FILE(EXP_FILE), .STYLE("distributed")) exp (
            .clk, .en(1'b1), .addr(diff_q[i*LOGIT_WIDTH+:LOGIT_WIDTH]), .data(entry[i*8+:8])
        );
        assign e_now[i*8+:8] = i >= REST && tags_q[E_TAG].last ? 8'd0 : entry[i*8+:8];
    end
    assign e       = e_now;
    assign e_valid = tags_q[E_TAG].valid && tags_q[E_TAG].z && tags_q[E_TAG].score;

    // --- V words in order ---
    localparam int unsigned FRAME = HEADS * CHANNEL_GROUPS * KEY_GROUPS;
    logic [HEAD_W-1:0] v_head_q;
    logic [CHANNEL_GROUP_W-1:0] v_cg_q;
    logic v_slot_q;
    tag_t v_tag;
    if (V_TAG == 0) begin : g_v_first
        assign v_tag = tag;
    end else begin : g_v_later
        assign v_tag = tags_q[V_TAG];
    end
    wire logic v_last_cg = v_cg_q == CHANNEL_GROUP_W'(CHANNEL_GROUPS - 1);
    wire logic v_item = v_tag.valid && v_last_cg && v_tag.last;
    wire logic v_wrap = v_item && v_head_q == HEAD_W'(HEADS - 1);
    assign v_re      = v_tag.valid;
    assign v_release = v_tag.valid && v_tag.done;
    wire logic [VALUE_ADDR_W-1:0] v_base = v_slot_q ^ v_release ? VALUE_ADDR_W'(FRAME) : '0;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            v_addr <= '0;
            v_head_q <= '0;
            v_cg_q   <= '0;
            v_slot_q <= 1'b0;
        end else if (v_tag.valid) begin
            v_addr <= v_wrap ? v_base : v_addr + 1'b1;
            if (v_tag.last) v_cg_q <= v_last_cg ? '0 : v_cg_q + 1'b1;
            if (v_item) v_head_q <= v_wrap ? '0 : v_head_q + 1'b1;
            v_slot_q <= v_slot_q ^ v_release;
        end
    end

    // --- row sum ---
    logic [Z_WIDTH:0] z_part;
    logic [PE*9-1:0] e_signed;
    logic [Z_WIDTH-1:0] z_sum;
    wire tag_t z_tag = tags_q[E_TAG+Z_LATENCY];
    always_comb begin
        for (int unsigned i = 0; i < PE; i++) e_signed[i*9+:9] = {1'b0, e_now[i*8+:8]};
    end
    vp_adder_tree #(.NUM(PE), .WIDTH(9), .SUM_WIDTH(Z_WIDTH + 1), .RADIX(2)) z_tree (
        .clk, .en(1'b1), .terms(e_signed), .sum(z_part)
    );
    assign z_sum = z_part[Z_WIDTH-1:0] + (z_tag.first ? '0 : z);
    always_ff @(posedge clk) begin
        if (!rst_n) z_valid <= 1'b0;
        else z_valid <= z_tag.valid && z_tag.z && z_tag.last;
        z_score <= z_tag.score;
        if (z_tag.valid) z <= z_sum;
    end

    // --- value product ---
    localparam int unsigned SUMW = IN_WIDTH + 8 + $clog2(PE);
    wire tag_t acc_tag = tags_q[E_TAG+DOT_LATENCY];
    logic [SIMD*PE*IN_WIDTH-1:0] v_turned;
    logic [SIMD*SUMW-1:0] sums;
    logic [SIMD*ACC_WIDTH-1:0] acc_d;
    always_comb begin
        for (int unsigned c = 0; c < SIMD; c++)
            for (int unsigned k = 0; k < PE; k++)
                v_turned[(c*PE+k)*IN_WIDTH+:IN_WIDTH] = v_data[(k*SIMD+c)*IN_WIDTH+:IN_WIDTH];
    end
    vp_attention_dot #(.OUT(SIMD), .IN(PE), .A_WIDTH(IN_WIDTH), .B_WIDTH(8), .B_SIGNED(1'b0)) dot (
        .clk, .a(v_turned), .b(e_now), .sums
    );
    always_comb begin
        for (int unsigned c = 0; c < SIMD; c++)
            acc_d[c*ACC_WIDTH+:ACC_WIDTH] = ACC_WIDTH'($signed(sums[c*SUMW+:SUMW]))
                                            + (acc_tag.first ? '0 : acc[c*ACC_WIDTH+:ACC_WIDTH]);
    end
    always_ff @(posedge clk) begin
        if (!rst_n) acc_valid <= 1'b0;
        else acc_valid <= acc_tag.valid && acc_tag.last;
        if (acc_tag.valid) acc <= acc_d;
    end
endmodule

`default_nettype wire
