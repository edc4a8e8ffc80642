// Token scores S_j = sum over heads of floor(2^16 E_j / Z), E and Z of query 0, exact, one key a cycle.
// E waits in a ring of ROWS rows, HEADS + 1 or more. Per head one sequential division gives R = ceil(2^P / Z), P = 24 +
// Z_WIDTH; then floor(2^16 E / Z) = (E R) >> (P - 16): R exceeds 2^P / Z by less than 1, so the product is
// too large by less than E < 2^8, which is below the 2^(P - 16) / Z >= 2^8 that part 2^16 E / Z from the
// next integer. Sums of a frame are complete after its last head and are emitted once, token by token,
// from one of two banks; the other takes the next frame meanwhile. Nothing stalls: a head starts when all it needs is
// there, a score leaves its bank when its place in the FIFO at the output is free. Z must be at least 255.
// A row comes with its encoder, whose tokens and heads its frame has.
`default_nettype none

module vp_attention_scores #(
    int unsigned ENCODERS    = 1,
    int unsigned TOKENS      = 17,  // at most, as HEADS
    int unsigned HEADS       = 1,
    parameter logic [ENCODERS*64-1:0] SHAPES = '0,  // by encoder, see shape_t
    bit          LOADED      = 1'b0,  // they come through the load chain
    parameter    FILE        = "",
    int unsigned PE          = 1,
    int unsigned Z_WIDTH     = 16,
    int unsigned SCORE_WIDTH = 17,
    int unsigned DIVIDE_STAGES = 1,
    int unsigned ROWS        = HEADS + 1,
    parameter    RING_STYLE  = "auto",
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic                   clk, rst_n,
    input  wire logic [33:0]            load_in,
    output      logic [33:0]            load_out,
    output      logic                   room,     // a row of E fits
    input  wire logic                   take,     // ... and is reserved
    input  wire logic                   e_valid,  // key groups of a row in order
    input  wire logic [PE*8-1:0]        e,
    input  wire logic                   z_valid,  // after the row's last key group
    input  wire logic [Z_WIDTH-1:0]     z,
    input  wire logic [TAG_W-1:0]       z_encoder,
    output      logic [SCORE_WIDTH-1:0] out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
    if (SCORE_WIDTH < $clog2(HEADS * 65536 + 1))
        $error("vp_attention_scores: SCORE_WIDTH is %0d, %0d heads need %0d", SCORE_WIDTH, HEADS, $clog2(HEADS * 65536 + 1));
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE;
    localparam int unsigned P = 24 + Z_WIDTH;
    localparam int unsigned RECIP_W = P - 7;  // 2^P / 255 < 2^(P - 7)
    localparam int unsigned TOKEN_W = vp_pkg::width(TOKENS);
    localparam int unsigned LANE_W = vp_pkg::width(PE);

    // --- a head starts: a cycle for each token, two at least, so that a sum is written before it is read again ---
    typedef struct packed {logic [31:0] tokens, heads;} shape_t;  // less 2
    logic [TAG_W-1:0] row_encoder;
    logic row_there, row_ready;
    shape_t next;                       // of the next head
    logic [TOKEN_W:0] tokens_q;         // of the running head
    logic [1:0][TOKEN_W:0] of_bank_q;   // of the frame in a bank
    logic [RECIP_W-1:0] recip, recip_q;
    logic recip_valid, bank_ok, start_q, run_q, last_token, last_head;
    logic first_head_q;            // the next head is the first of its frame
    logic head_0_q, frame_last_q;  // the running head is the first, the last of its frame
    logic bank_q;                  // of the running head
    wire logic free_now = !run_q || (last_token && !tokens_q[TOKEN_W]);
    wire logic start = free_now && recip_valid && (!first_head_q || bank_ok);
    wire logic row_end = run_q && last_token;
    logic emitted;

    vp_attention_reciprocal #(
        .Z_WIDTH(Z_WIDTH), .NUM_WIDTH(P + 1), .NUMS(64'd1 << P), .UP(1'b1), .WIDTH(RECIP_W), .STAGES(DIVIDE_STAGES), .ITEMS(ROWS)
    ) reciprocal (
        .clk, .rst_n, .load_in('0), .load_out(), .z_valid, .z, .encoder(1'b0), .recip, .recip_valid, .recip_ready(start_q)
    );
    // A row's shape is there long before its reciprocal, and leaves with it.
    vp_fifo #(.WIDTH(TAG_W), .DEPTH(ROWS + 1), .STYLE("distributed")) row_encoders (
        .clk, .rst_n, .in_data(z_encoder), .in_valid(z_valid), .in_ready(),
        .out_data(row_encoder), .out_valid(row_there), .out_ready(row_ready)
    );
    vp_engine_table #(.ENCODERS(ENCODERS), .FIELDS($bits(shape_t) / 32), .VALUES(SHAPES), .LOADED(LOADED), .FILE(FILE)) shape_of (
        .clk, .rst_n, .load_in, .load_out, .encoder(row_encoder), .encoder_valid(row_there), .encoder_ready(row_ready),
        .value(next), .of(), .value_valid(), .value_ready(start_q)
    );
    vp_sized_counter #(.MOST(TOKENS)) tokens (
        .clk, .rst_n, .less_2(tokens_q), .step(run_q), .count(), .last(last_token)
    );
    vp_sized_counter #(.MOST(HEADS)) heads (
        .clk, .rst_n, .less_2((vp_pkg::width(HEADS) + 1)'(next.heads)), .step(start), .count(), .last(last_head)
    );
    vp_credits #(.COUNT(ROWS)) rows (.clk, .rst_n, .take, .give(row_end), .can_take(room));
    vp_credits #(.COUNT(2)) banks (.clk, .rst_n, .take(start && first_head_q), .give(emitted), .can_take(bank_ok));

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            start_q      <= 1'b0;
            run_q        <= 1'b0;
            first_head_q <= 1'b1;
            bank_q       <= 1'b1;
        end else begin
            start_q <= start;
            run_q   <= start || (run_q && !last_token);
            if (start) begin
                first_head_q <= last_head;
                bank_q       <= bank_q ^ first_head_q;
            end
        end
        if (start_q) recip_q <= recip;
        if (start && first_head_q) of_bank_q[!bank_q] <= (TOKEN_W + 1)'(next.tokens);
        if (start) begin
            tokens_q     <= (TOKEN_W + 1)'(next.tokens);
            head_0_q     <= first_head_q;
            frame_last_q <= last_head;
        end
    end

    // --- the ring of rows of E: a word has the keys of PE cycles ---
    logic [LANE_W-1:0] lane_q;
    logic lane_first_q, lane_last_q;
    logic [$clog2(ROWS * KEY_GROUPS)-1:0] e_waddr, e_raddr;
    logic [PE*8-1:0] row_word;
    wire logic word_end = lane_last_q || last_token;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            lane_q       <= '0;
            lane_first_q <= 1'b1;
            lane_last_q  <= PE == 1;
        end else if (run_q) begin
            lane_q       <= word_end ? '0 : lane_q + 1'b1;
            lane_first_q <= word_end;
            lane_last_q  <= PE == 1 || (!word_end && lane_q == LANE_W'(PE - 2));
        end
    end
    vp_counter #(.COUNT(ROWS * KEY_GROUPS)) e_writes (
        .clk, .rst_n, .step(e_valid), .count(e_waddr), .last()
    );
    vp_counter #(.COUNT(ROWS * KEY_GROUPS)) e_reads (
        .clk, .rst_n, .step(run_q && word_end), .count(e_raddr), .last()
    );
    vp_ram #(.DEPTH(ROWS * KEY_GROUPS), .WIDTH(PE * 8), .STYLE(RING_STYLE)) ring (
        .clk, .we(e_valid), .waddr(e_waddr), .wdata(e), .re(1'b1), .zero(1'b0), .raddr(e_raddr), .rdata(row_word)
    );

    // --- stage 1: E of one key, from the ring's word; then its product ---
    localparam int unsigned MULTIPLY = 2 + (RECIP_W + 25) / 26;  // cycles of vp_multiply
    localparam int unsigned QUOTIENT = 1 + MULTIPLY;
    typedef struct packed {logic valid, bank, head_0, row_end, frame_end;} tag_t;
    tag_t [QUOTIENT:1] tags_q;
    logic lane_first_1_q;
    logic [PE*8-1:0] shift_q;
    logic [RECIP_W+9:0] product;
    wire logic [PE*8-1:0] word = lane_first_1_q ? row_word : shift_q;
    wire tag_t tag_read = tags_q[QUOTIENT-1];
    wire tag_t tag_sum = tags_q[QUOTIENT];
    always_ff @(posedge clk) begin
        if (!rst_n) tags_q <= '0;
        else tags_q <= {tags_q[QUOTIENT-1:1], tag_t'{run_q, bank_q, head_0_q, row_end, row_end && frame_last_q}};
        lane_first_1_q <= lane_first_q;
        shift_q        <= word >> 8;
    end
    vp_multiply #(.A_WIDTH(RECIP_W + 1), .B_WIDTH(9)) multiply (.clk, .a({1'b0, recip_q}), .b({1'b0, word[7:0]}), .product);

    // --- sums: read a cycle before the quotient is there, written when it is added ---
    logic [TOKEN_W-1:0] sum_token_q, write_token_q, emit_token;
    logic last_emit, complete, can_take, emit_bank_q, push_q, push_bank_q;
    logic [SCORE_WIDTH-1:0] bank_data[2];
    wire logic [SCORE_WIDTH-1:0] sum = SCORE_WIDTH'(product[P-16+:17]) + bank_data[tag_sum.bank];
    wire logic emit = complete && can_take;
    assign emitted = emit && last_emit;
    vp_sized_counter #(.MOST(TOKENS)) emits (
        .clk, .rst_n, .less_2(of_bank_q[emit_bank_q]), .step(emit), .count(emit_token), .last(last_emit)
    );
    vp_credits #(.COUNT(2), .FREE(0)) frames (.clk, .rst_n, .take(emitted), .give(tag_sum.frame_end), .can_take(complete));
    for (genvar i = 0; i < 2; i++) begin : g_bank
        wire logic out_side = complete && emit_bank_q == i[0];
        vp_ram #(.DEPTH(TOKENS), .WIDTH(SCORE_WIDTH), .STYLE("distributed")) bank (
            .clk, .we(tag_sum.valid && tag_sum.bank == i[0]), .waddr(write_token_q), .wdata(sum),
            .re(1'b1), .zero(!out_side && tag_read.head_0), .raddr(out_side ? emit_token : sum_token_q), .rdata(bank_data[i])
        );
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            emit_bank_q <= 1'b0;
            push_q      <= 1'b0;
            sum_token_q <= '0;
        end else begin
            if (tag_read.valid) sum_token_q <= tag_read.row_end ? '0 : sum_token_q + 1'b1;
            emit_bank_q <= emit_bank_q ^ emitted;
            push_q      <= emit;
        end
        push_bank_q   <= emit_bank_q;
        write_token_q <= sum_token_q;
    end
    vp_credit_fifo #(.WIDTH(SCORE_WIDTH), .DEPTH(4), .STYLE("distributed")) results (
        .clk, .rst_n, .take(emit), .can_take, .push(push_q), .push_data(bank_data[push_bank_q]),
        .out_data, .out_valid, .out_ready
    );
endmodule

`default_nettype wire
