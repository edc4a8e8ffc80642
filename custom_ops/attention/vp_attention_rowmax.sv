// Turns the accumulators of PE keys, loaded at most every CHANNEL_GROUPS cycles, into logit codes with just enough
// multipliers to keep up (ceil(PE / CHANNEL_GROUPS)), writes them into a ring of SLOTS items and finds each item's
// maximum. Padding keys (beyond PE, or beyond TOKENS in the last group) do not count. A finished item is
// announced (item_valid) until item_ready takes it; a cycle later item_max is its maximum, until the next one is taken.
// Its logits are read at l_addr (slots in a ring, key groups in order), a cycle later.
// Nothing stalls here: who loads must own a free slot. Every key has its load, all of them are equal. With the load comes the
// item's encoder, whose tokens, multiplier and shift it has; a slot has room for the most tokens.
`default_nettype none

module vp_attention_rowmax #(
    int unsigned ENCODERS    = 1,
    int unsigned TOKENS      = 17,  // at most
    parameter logic [ENCODERS*160-1:0] SHAPES = '0,  // by encoder, see shape_t
    bit          LOADED      = 1'b0,  // they come through the load chain
    parameter    FILE        = "",
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned PE          = 1,
    int unsigned ACC_WIDTH   = 20,
    int unsigned LOGIT_WIDTH = 8,
    int unsigned LOGIT_SHIFT = 16,
    int unsigned LOGIT_SPAN  = 0,
    int unsigned SLOTS       = 3,
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned LOGIT_ADDR_W = $clog2(SLOTS * KEY_GROUPS)
) (
    input  wire logic                      clk, rst_n,
    input  wire logic [33:0]               load_in,
    output      logic [33:0]               load_out,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,
    input  wire logic [PE-1:0]             load,
    input  wire logic [PE*ACC_WIDTH-1:0]   acc,
    output      logic [LOGIT_WIDTH-1:0]    item_max,
    output      logic                      item_valid,
    input  wire logic                      item_ready,
    input  wire logic [LOGIT_ADDR_W-1:0]   l_addr,
    output      logic [PE*LOGIT_WIDTH-1:0] l_data
);
    localparam int unsigned LANES = (PE + CHANNEL_GROUPS - 1) / CHANNEL_GROUPS;
    localparam int unsigned SERIAL = (PE + LANES - 1) / LANES;
    localparam int unsigned KEYS = SERIAL * LANES;  // PE and padding
    localparam int unsigned FULL_W = $clog2(SERIAL + 1);
    localparam int unsigned REST_W = vp_pkg::width(LANES);
    localparam int unsigned LEFT_W = vp_pkg::width(LOGIT_SPAN + 1);

    typedef struct packed {logic [FULL_W-1:0] full; logic [REST_W-1:0] rest;} keys_t;  // steps full of keys, keys in the one after
    function automatic keys_t in_steps(int unsigned keys);
        return keys_t'{FULL_W'(keys / LANES), REST_W'(keys % LANES)};
    endfunction
    typedef struct packed {
        logic [31:0] mult;
        logic [31:0] left;
        logic [31:0] groups;  // less 2
        logic [31:0] full, rest;  // keys of the last group, as keys_t has them
    } shape_t;

    // --- requantisation, LANES keys a cycle: step s takes keys s * LANES and up ---
    logic [KEYS*ACC_WIDTH-1:0] shift_q;
    logic busy_q, last_step, last_group;
    logic [vp_pkg::width(SERIAL)-1:0] step;
    shape_t loaded, shape_q;
    logic [16:0] mult_q;
    logic [LANES-1:0] pad;
    wire logic word_end = busy_q && last_step;
    wire keys_t keys = last_group ? keys_t'{FULL_W'(shape_q.full), REST_W'(shape_q.rest)} : in_steps(PE);
    vp_engine_values #(.ENCODERS(ENCODERS), .FIELDS($bits(shape_t) / 32), .VALUES(SHAPES), .LOADED(LOADED), .FILE(FILE)) shape_of (
        .clk, .rst_n, .load_in, .load_out, .encoder, .value(loaded)
    );
    vp_counter #(.COUNT(SERIAL)) steps (.clk, .rst_n, .step(busy_q), .count(step), .last(last_step));
    vp_sized_counter #(.MOST(KEY_GROUPS)) groups (
        .clk, .rst_n, .less_2((vp_pkg::width(KEY_GROUPS) + 1)'(shape_q.groups)), .step(word_end), .count(), .last(last_group)
    );
    always_comb begin
        for (int unsigned i = 0; i < LANES; i++)
            pad[i] = FULL_W'(step) > keys.full || (FULL_W'(step) == keys.full && REST_W'(i) >= keys.rest);
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            busy_q <= 1'b0;
            mult_q <= '0;  // with a reset, so that no multiplier's size depends on a constant
        end else begin
            busy_q <= load[0] || (busy_q && !last_step);
            if (load[0]) mult_q <= loaded.mult[16:0];
        end
        if (load[0]) shape_q <= loaded;
        for (int unsigned i = 0; i < KEYS; i++) begin
            if (i < PE && load[i]) shift_q[i*ACC_WIDTH+:ACC_WIDTH] <= acc[i*ACC_WIDTH+:ACC_WIDTH];
            else if (i + LANES < KEYS) shift_q[i*ACC_WIDTH+:ACC_WIDTH] <= shift_q[(i+LANES)*ACC_WIDTH+:ACC_WIDTH];
        end
    end

    logic [LANES*LOGIT_WIDTH-1:0] codes;
    logic [LANES-1:0] codes_pad;
    logic codes_valid, codes_word, codes_item;
    vp_requant #(
        .LANES(LANES), .ACC_WIDTH(ACC_WIDTH), .MULT_WIDTH(17), .SHIFT(LOGIT_SHIFT), .SPAN(LOGIT_SPAN), .OUT_WIDTH(LOGIT_WIDTH),
        .OUT_SIGNED(1'b1), .TAG_BITS(3 + LANES)
    ) requant (
        .clk, .rst_n, .acc(shift_q[LANES*ACC_WIDTH-1:0]), .mult({LANES{mult_q}}), .left(LEFT_W'(shape_q.left)), .out(codes),
        .tag({busy_q, word_end, word_end && last_group, pad}), .out_tag({codes_valid, codes_word, codes_item, codes_pad})
    );

    // --- logit ring: the codes of a word come in SERIAL cycles that follow one another ---
    localparam int unsigned WORD = KEYS * LOGIT_WIDTH;
    logic [WORD-1:0] word_q;
    localparam logic [LOGIT_ADDR_W-1:0] LAST_SLOT = LOGIT_ADDR_W'((SLOTS - 1) * KEY_GROUPS);
    logic write_q, item_end_q;
    logic [LOGIT_ADDR_W-1:0] write_addr_q, next_q;  // next_q: first word of the next item
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            write_q      <= 1'b0;
            write_addr_q <= '0;
            next_q       <= LOGIT_ADDR_W'(KEY_GROUPS);
        end else begin
            write_q <= codes_word;
            if (write_q) write_addr_q <= item_end_q ? next_q : write_addr_q + 1'b1;
            if (write_q && item_end_q) next_q <= next_q == LAST_SLOT ? '0 : next_q + LOGIT_ADDR_W'(KEY_GROUPS);
        end
        item_end_q <= codes_item;
        word_q     <= WORD'({codes, word_q} >> (LANES * LOGIT_WIDTH));
    end
    vp_ram #(.DEPTH(SLOTS * KEY_GROUPS), .WIDTH(PE * LOGIT_WIDTH), .STYLE("distributed")) logits (
        .clk, .we(write_q), .waddr(write_addr_q), .wdata(word_q[PE*LOGIT_WIDTH-1:0]),
        .re(1'b1), .zero(1'b0), .raddr(l_addr), .rdata(l_data)
    );

    // --- row maximum ---
    localparam logic [LOGIT_WIDTH-1:0] LOWEST = {1'b1, {(LOGIT_WIDTH - 1) {1'b0}}};
    logic [LANES*LOGIT_WIDTH-1:0] counted;
    logic signed [LOGIT_WIDTH-1:0] highest, running_q;
    logic fresh_q, item_push_q, max_valid, max_last;
    logic [$clog2(SLOTS)-1:0] push_slot, pop_slot;
    always_comb begin
        for (int unsigned i = 0; i < LANES; i++)
            counted[i*LOGIT_WIDTH+:LOGIT_WIDTH] = codes_pad[i] ? LOWEST : codes[i*LOGIT_WIDTH+:LOGIT_WIDTH];
    end
    vp_adder_tree #(.NUM(LANES), .WIDTH(LOGIT_WIDTH), .SUM_WIDTH(LOGIT_WIDTH), .MAXIMUM(1'b1)) maximum (
        .clk, .en(1'b1), .terms(counted), .sum(highest)
    );
    vp_delay #(.WIDTH(2), .LENGTH($clog2(LANES))) max_tags (
        .clk, .rst_n, .in({codes_valid, codes_item}), .out({max_valid, max_last})
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            fresh_q     <= 1'b1;
            item_push_q <= 1'b0;
        end else begin
            if (max_valid) fresh_q <= max_last;
            item_push_q <= max_valid && max_last;
        end
        if (max_valid && (fresh_q || highest > running_q)) running_q <= highest;
    end
    vp_credits #(.COUNT(SLOTS), .FREE(0)) items (.clk, .rst_n, .take(item_ready), .give(item_push_q), .can_take(item_valid));
    vp_counter #(.COUNT(SLOTS)) pushes (.clk, .rst_n, .step(item_push_q), .count(push_slot), .last());
    vp_counter #(.COUNT(SLOTS)) pops (.clk, .rst_n, .step(item_ready), .count(pop_slot), .last());
    vp_ram #(.DEPTH(SLOTS), .WIDTH(LOGIT_WIDTH), .STYLE("distributed")) maxima (
        .clk, .we(item_push_q), .waddr(push_slot), .wdata(running_q), .re(item_ready), .zero(1'b0), .raddr(pop_slot), .rdata(item_max)
    );

`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && load[0] && busy_q && !last_step) $fatal(1, "vp_attention_rowmax: keys came while others are under way");
    end
`endif
endmodule

`default_nettype wire
