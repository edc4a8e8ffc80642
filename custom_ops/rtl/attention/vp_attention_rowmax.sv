// Turns the accumulators of PE keys, loaded at most every CHANNEL_GROUPS cycles, into logit codes with just enough
// multipliers to keep up (ceil(PE / CHANNEL_GROUPS)), writes them into a ring of SLOTS items and finds each item's
// maximum. Padding keys (beyond PE, or beyond TOKENS in the last group) do not count. A finished item is
// announced with its maximum; its logits are then read at l_addr (slots in a ring, key groups in order).
// Nothing stalls here: who loads must own a free slot.
`default_nettype none

module vp_attention_rowmax #(
    int unsigned TOKENS      = 17,
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned PE          = 1,
    int unsigned ACC_WIDTH   = 20,
    int unsigned LOGIT_WIDTH = 8,
    int unsigned LOGIT_MULT  = 65536,
    int unsigned LOGIT_SHIFT = 16,
    int unsigned SLOTS       = 3,
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned LOGIT_ADDR_W = $clog2(SLOTS * KEY_GROUPS)
) (
    input  wire logic                      clk,
    input  wire logic                      rst_n,
    input  wire logic                      load,
    input  wire logic [PE*ACC_WIDTH-1:0]   acc,
    output      logic [LOGIT_WIDTH-1:0]    item_max,
    output      logic                      item_valid,
    input  wire logic                      item_ready,
    input  wire logic                      l_re,
    input  wire logic [LOGIT_ADDR_W-1:0]            l_addr,
    output      logic [PE*LOGIT_WIDTH-1:0] l_data
);
    localparam int unsigned LANES = (PE + CHANNEL_GROUPS - 1) / CHANNEL_GROUPS;
    localparam int unsigned SERIAL = (PE + LANES - 1) / LANES;
    localparam int unsigned MAX_LATENCY = ($clog2(LANES) + 1) / 2;
    localparam int unsigned KEY_GROUP_W = KEY_GROUPS > 1 ? $clog2(KEY_GROUPS) : 1;

    // --- requantisation, LANES keys a cycle ---
    localparam int unsigned SERIAL_W = SERIAL > 1 ? $clog2(SERIAL) : 1;
    logic [SERIAL*LANES*ACC_WIDTH-1:0] shift_q;
    logic [SERIAL_W-1:0] left_q;
    logic busy_q, tail;  // in the shift register; behind the requantiser
    logic [16:0] mult_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            busy_q <= 1'b0;
            mult_q <= '0;  // a register, so that no multiplier's size depends on the constant
        end else begin
            busy_q <= load || (busy_q && left_q != '0);
            mult_q <= LOGIT_MULT[16:0];
        end
        if (load) left_q <= SERIAL_W'(SERIAL - 1);
        else if (left_q != '0) left_q <= left_q - 1'b1;
        shift_q <= load ? (SERIAL * LANES * ACC_WIDTH)'(acc) : shift_q >> (LANES * ACC_WIDTH);
    end

    logic [LANES*LOGIT_WIDTH-1:0] codes;
    vp_requant #(
        .LANES(LANES), .ACC_WIDTH(ACC_WIDTH), .MULT_WIDTH(17), .SHIFT(LOGIT_SHIFT), .OUT_WIDTH(LOGIT_WIDTH),
        .OUT_SIGNED(1'b1)
    ) requant (
        .clk, .rst_n, .acc(shift_q[LANES*ACC_WIDTH-1:0]), .mult({LANES{mult_q}}), .tag(busy_q), .out(codes), .out_tag(tail)
    );

    // --- logit ring and row maximum; padding keys do not count ---
    localparam int unsigned WORD = SERIAL * LANES * LOGIT_WIDTH;
    localparam logic [LOGIT_WIDTH-1:0] LOWEST = {1'b1, {(LOGIT_WIDTH - 1) {1'b0}}};
    logic [SERIAL_W-1:0] step_q;
    logic [KEY_GROUP_W-1:0] tail_kg_q;
    logic [LOGIT_ADDR_W-1:0] l_waddr_q;
    logic [WORD-1:0] word_q;
    logic [LANES*LOGIT_WIDTH-1:0] counted;
    wire logic word_done = tail && step_q == SERIAL_W'(SERIAL - 1);
    wire logic tail_last = tail_kg_q == KEY_GROUP_W'(KEY_GROUPS - 1);
    wire logic [WORD-1:0] word_d = WORD'({codes, word_q} >> (LANES * LOGIT_WIDTH));

    always_comb begin
        for (int unsigned i = 0; i < LANES; i++) begin
            automatic int unsigned key = 32'(step_q) * LANES + i;
            automatic logic pad = key >= (tail_last ? TOKENS - (KEY_GROUPS - 1) * PE : PE);
            counted[i*LOGIT_WIDTH+:LOGIT_WIDTH] = pad ? LOWEST : codes[i*LOGIT_WIDTH+:LOGIT_WIDTH];
        end
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            step_q    <= '0;
            tail_kg_q <= '0;
            l_waddr_q <= '0;
        end else begin
            if (tail) step_q <= word_done ? '0 : step_q + 1'b1;
            if (word_done) begin
                tail_kg_q <= tail_last ? '0 : tail_kg_q + 1'b1;
                l_waddr_q <= l_waddr_q == LOGIT_ADDR_W'(SLOTS * KEY_GROUPS - 1) ? '0 : l_waddr_q + 1'b1;
            end
        end
        if (tail) word_q <= word_d;
    end
    vp_ram #(.DEPTH(SLOTS * KEY_GROUPS), .WIDTH(PE * LOGIT_WIDTH), .STYLE("distributed")) logits (
        .clk, .we(word_done), .waddr(l_waddr_q), .wdata(word_d[PE*LOGIT_WIDTH-1:0]),
        .re(l_re), .zero(1'b0), .raddr(l_addr), .rdata(l_data)
    );

    logic signed [LOGIT_WIDTH-1:0] highest, running_q;
    logic [LOGIT_WIDTH-1:0] item_max_q;
    logic fresh_q, item_push_q, unused_ready, max_valid, max_last;
    vp_adder_tree #(
        .NUM(LANES), .WIDTH(LOGIT_WIDTH), .SUM_WIDTH(LOGIT_WIDTH), .RADIX(2), .MAXIMUM(1'b1)
    ) maximum (
        .clk, .en(1'b1), .terms(counted), .sum(highest)
    );
    vp_delay #(.WIDTH(2), .LENGTH(MAX_LATENCY)) max_tags (
        .clk, .rst_n, .in({tail, word_done && tail_last}), .out({max_valid, max_last})
    );
    wire logic signed [LOGIT_WIDTH-1:0] max_d = fresh_q || highest > running_q ? highest : running_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            fresh_q     <= 1'b1;
            item_push_q <= 1'b0;
        end else begin
            if (max_valid) fresh_q <= max_last;
            item_push_q <= max_valid && max_last;
        end
        if (max_valid) running_q <= max_d;
        item_max_q <= max_d;
    end
    vp_fifo #(.WIDTH(LOGIT_WIDTH), .DEPTH(SLOTS), .STYLE("distributed")) items (
        .clk, .rst_n, .in_data(item_max_q), .in_valid(item_push_q), .in_ready(unused_ready),
        .out_data(item_max), .out_valid(item_valid), .out_ready(item_ready)
    );
endmodule

`default_nettype wire
