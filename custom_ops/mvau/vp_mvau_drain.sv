// Output stage of the sparse-block matrix unit: reads the lanes' result banks ROWS_PER_STEP tokens at a time, DRAIN_WIDTH
// outputs of each a step in channel order, adds the parts of columns that were cut, adds the bias,
// requantises (or passes the sums on), and emits the rows of frames (rounded up to ROWS_PER_STEP). Its program,
// the same for all tokens, has an entry per part: {end of row, last part of these outputs, no part (empty
// column), choice among the word's outputs, lane, word}. Outputs that are padding have no entry. An entry
// starts when a place of the FIFO at the output is free; no stage ever waits. Beside its last outputs goes out how many of the
// ROWS_PER_STEP rows count.
// Of several encoders, each has its program from STARTS on, and shape_t: its constants, and the shift SHIFT - left. A group
// is known from when it takes its bank (claim, claim_group), so that its program is read ahead. Where outputs of some encoders have
// fewer bits (CLIPS), requantised ones are clipped once more, which takes two cycles.
`default_nettype none

module vp_mvau_drain #(
    int unsigned ENCODERS = 1, ROWS = 5,                       // most rows of a frame
    int unsigned TOKENS = 2, ROWS_PER_STEP = 1, LANES = 2,     // tokens of a group, of a step
    int unsigned ENTRIES = 8, CONSTANTS = 4,                   // most of the program, most words of constants, of all encoders
    int unsigned DRAIN_WIDTH = 4, C_SUBS = 1,                  // outputs of a constant word, and of a result word by those
    int unsigned R_WORDS = 4, R_CYCLES = 3,
    int unsigned BUFFERS = 2,                                  // result banks, a power of two
    int unsigned ACC_BITS = 24, BIAS_BITS = 24, OUT_BITS = 8, MULT_BITS = 17,
    bit          OUT_SIGNED = 1'b1, REQUANT = 1'b1,
    int unsigned SHIFT = 16, SPAN = 0,                         // largest left
    parameter logic [ENCODERS*32-1:0] STARTS = '0,             // by encoder
    parameter logic [ENCODERS*160-1:0] SHAPES = '0,            // likewise, see shape_t
    bit          CLIPS = 1'b0,
    parameter logic [ENCODERS*32-1:0] FEWER_BITS = '0,         // likewise: than OUT_BITS
    bit          LOADED = 1'b0,                                // both programs, constants, STARTS and SHAPES come through the load chain
    parameter    UNIT = "",                                    // of files from which simulations fill STARTS and SHAPES
    parameter    PROGRAM_FILE = "", PROGRAM_STYLE = "auto", CONSTANT_FILE = "", CONSTANT_STYLE = "auto",
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS),
    localparam int unsigned ROW_W = vp_pkg::width(ROWS_PER_STEP),
    localparam int unsigned BANK_W = $clog2(BUFFERS),
    localparam int unsigned WORD_W = vp_pkg::width(R_WORDS),
    localparam int unsigned R_ADDR_W = BANK_W + WORD_W,
    localparam int unsigned SETS = TOKENS / ROWS_PER_STEP,
    localparam int unsigned SET_W = vp_pkg::width(SETS),
    localparam int unsigned SUB_W = vp_pkg::width(C_SUBS)
) (
    input  wire logic                         clk, rst_n,
    input  wire logic [33:0]                  load_in,
    output      logic [33:0]                  load_out,
    input  wire logic [BUFFERS-1:0]           claim,     // a group starts to fill this bank
    input  wire logic [TAG_W-1:0]             claim_group, // its encoder
    input  wire logic                         done,      // the group in bank done_bank will be complete in two cycles
    input  wire logic [BANK_W-1:0]            done_bank,
    output      logic [BUFFERS-1:0]           busy,
    output      logic [R_ADDR_W-1:0]          r_addr,
    output      logic [SET_W-1:0]             r_set,     // which ROWS_PER_STEP tokens; a cycle after r_addr
    output      logic [SUB_W-1:0]             r_sub,     // beside r_set
    input  wire logic [LANES*ROWS_PER_STEP*DRAIN_WIDTH*ACC_BITS-1:0] r_value,  // R_CYCLES after r_addr
    output      logic [ROWS_PER_STEP*DRAIN_WIDTH*OUT_BITS-1:0] out_data, // token after token
    output      logic                         out_end,  // the last ones of these tokens
    output      logic [ROW_W-1:0]             out_last_row, // then: the last one of them that is a row of the frame
    output      logic                         out_valid,
    input  wire logic                         out_ready
);
    localparam int unsigned CONSTANT_ADDR_W = vp_pkg::width(CONSTANTS);
    localparam int unsigned LANE_INDEX_W = vp_pkg::width(LANES);
    localparam int unsigned FRAME_SETS = (ROWS + ROWS_PER_STEP - 1) / ROWS_PER_STEP;
    localparam int unsigned FRAME_SET_W = vp_pkg::width(FRAME_SETS);
    localparam int unsigned N = ROWS_PER_STEP * DRAIN_WIDTH;  // outputs of a step
    localparam int unsigned WIDTH = 3 + SUB_W + LANE_INDEX_W + WORD_W;
    localparam int unsigned SUM_BITS = (BIAS_BITS > ACC_BITS ? BIAS_BITS : ACC_BITS) + 1;
    localparam int unsigned K_BITS = REQUANT ? BIAS_BITS + MULT_BITS : BIAS_BITS;
    localparam int unsigned LEFT_W = vp_pkg::width(SPAN + 1);
    localparam int unsigned FEWER_W = CLIPS ? vp_pkg::width(OUT_BITS) : 1;
    localparam int unsigned C_ADDR_W = vp_pkg::width(ENTRIES);
    localparam bit SEVERAL = ENCODERS > 1;

    if (TOKENS % ROWS_PER_STEP != 0) $error("vp_mvau_drain: ROWS_PER_STEP %0d must divide TOKENS %0d", ROWS_PER_STEP, TOKENS);

    localparam int unsigned PLACES = 31;  // beats under way and waiting: more than there are stages

    // --- groups: the one whose program is read next, the ones that are drained ---
    typedef struct packed {
        logic [31:0] one_set, next_to_last_set;  // of ROWS_PER_STEP rows, of the frame
        logic [31:0] last_row;                   // of the last set
        logic [31:0] first_constant;
        logic [31:0] left;
    } shape_t;
    shape_t shape;
    logic [2:0][33:0] load;
    logic [TAG_W-1:0] claimed, drains;
    logic [31:0] start;
    logic start_valid, start_ready, start_room, claimed_valid, claimed_ready, claimed_room, known;
    logic [TAG_W-1:0] starts;
    logic starts_valid, starts_ready;
    if (BUFFERS > 2) begin : g_starts
        vp_fifo #(.WIDTH(TAG_W), .DEPTH(BUFFERS), .STYLE("distributed")) waiting (
            .clk, .rst_n, .in_data(claim_group), .in_valid(|claim), .in_ready(start_room),
            .out_data(starts), .out_valid(starts_valid), .out_ready(starts_ready)
        );
    end else begin : g_start
        assign {starts, starts_valid, start_room} = {claim_group, |claim, starts_ready};
    end
    vp_engine_table #(.ENCODERS(ENCODERS), .VALUES(STARTS), .LOADED(LOADED), .FILE({UNIT, "_drain_starts.fill"})) read_next (
        .clk, .rst_n, .load_in, .load_out(load[0]), .encoder(starts), .encoder_valid(starts_valid), .encoder_ready(starts_ready),
        .value(start), .of(), .value_valid(start_valid), .value_ready(start_ready)
    );
    if (SEVERAL) begin : g_groups
        vp_fifo #(.WIDTH(TAG_W), .DEPTH(BUFFERS), .STYLE("distributed")) groups (
            .clk, .rst_n, .in_data(claim_group), .in_valid(|claim), .in_ready(claimed_room),
            .out_data(claimed), .out_valid(claimed_valid), .out_ready(claimed_ready)
        );
    end else begin : g_same
        assign {claimed_room, claimed, claimed_valid} = {1'b1, TAG_W'(0), 1'b1};
    end

    // --- program ---
    logic [WIDTH-1:0] entry;
    logic entry_valid, can_take;
    logic [BANK_W-1:0] bank_q;
    logic [BUFFERS-1:0] busy_q, full_q;
    logic [FRAME_SET_W-1:0] row_q;    // in units of ROWS_PER_STEP, as token_q
    logic [SET_W-1:0] token_q;
    logic last_row_q;
    wire logic row_end = entry[WIDTH-1];
    wire logic part_last = entry[WIDTH-2];
    wire logic step = can_take && entry_valid && full_q[bank_q];
    wire logic frame_end = shape.one_set[0] || last_row_q;
    wire logic last_set = frame_end || token_q == SET_W'(SETS - 1);  // of the group
    wire logic group_end = row_end && last_set;
    wire logic [BUFFERS-1:0] release_now = (BUFFERS'(1) << bank_q) & {BUFFERS{step && group_end}};

    vp_engine_table #(
        .ENCODERS(ENCODERS), .FIELDS($bits(shape_t) / 32), .VALUES(SHAPES), .LOADED(LOADED), .FILE({UNIT, "_drain_shapes.fill"})
    ) drained (
        .clk, .rst_n, .load_in(load[0]), .load_out(load[1]),
        .encoder(claimed), .encoder_valid(claimed_valid), .encoder_ready(claimed_ready),
        .value(shape), .of(drains), .value_valid(known), .value_ready(step && group_end)
    );
    vp_mvau_program #(
        .ENTRIES(ENTRIES), .WIDTH(WIDTH), .SEVERAL(SEVERAL), .LOADED(LOADED), .FILE(PROGRAM_FILE), .STYLE(PROGRAM_STYLE)
    ) program_i (
        .clk, .rst_n, .load_in(load[1]), .load_out(load[2]),
        .next(step), .again(!last_set), .start(C_ADDR_W'(start)), .start_valid, .start_ready,
        .entry, .valid(entry_valid), .coming()
    );
`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && |claim && !(start_room && claimed_room)) $fatal(1, "vp_mvau_drain: a group was lost");
        if (rst_n && step && !known) $fatal(1, "vp_mvau_drain: a group is drained that is not known");
    end
`endif
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            busy_q     <= '0;
            full_q     <= '0;
            bank_q     <= '0;
            row_q      <= '0;
            last_row_q <= 1'b0;
            token_q    <= '0;
        end else begin
            busy_q <= (busy_q | claim) & ~release_now;
            full_q <= (full_q | ((BUFFERS'(1) << done_bank) & {BUFFERS{done}})) & ~release_now;
            if (step && row_end) begin
                row_q      <= frame_end ? '0 : row_q + 1'b1;
                last_row_q <= !frame_end && row_q == FRAME_SET_W'(shape.next_to_last_set);
                token_q    <= group_end ? '0 : token_q + 1'b1;
                bank_q     <= bank_q + BANK_W'(group_end);
            end
        end
    end
    assign busy = busy_q;

    // --- stage 1: address; 2: copies of it; 3: bank read; then to VALUES: one token's outputs of each lane ---
    localparam int unsigned VALUES = 1 + R_CYCLES;
    logic [VALUES:1] valid_q;
    logic [VALUES:1] last_q, none_q;
    logic [VALUES:1][LANE_INDEX_W-1:0] lane_q;
    logic [SET_W-1:0] token_1_q;
    logic [SUB_W-1:0] sub_1_q;
    always_ff @(posedge clk) begin
        if (!rst_n) valid_q <= '0;
        else valid_q <= {valid_q[VALUES-1:1], step};
    end
    always_ff @(posedge clk) begin
        r_addr         <= {bank_q, entry[WORD_W-1:0]};
        token_1_q      <= token_q;
        sub_1_q        <= entry[WORD_W+LANE_INDEX_W+:SUB_W];
        {r_sub, r_set} <= {sub_1_q, token_1_q};
        last_q         <= {last_q[VALUES-1:1], part_last};
        none_q         <= {none_q[VALUES-1:1], entry[WIDTH-3]};
        lane_q         <= {lane_q[VALUES-1:1], entry[WORD_W+:LANE_INDEX_W]};
    end

    // --- constants: read in two stages, for the one after VALUES ---
    logic [CONSTANT_ADDR_W-1:0] constant_q;
    logic [DRAIN_WIDTH*K_BITS-1:0] constants;
    logic we;
    logic [CONSTANT_ADDR_W-1:0] waddr;
    logic [DRAIN_WIDTH*K_BITS-1:0] wdata;
    vp_load_region #(.LOADED(LOADED), .DEPTH(CONSTANTS), .WIDTH(DRAIN_WIDTH * K_BITS)) region (
        .clk, .rst_n, .load_in(load[2]), .load_out, .we, .waddr, .data(wdata), .filled()
    );
    vp_contents #(
        .LOADED(LOADED), .DEPTH(CONSTANTS), .WIDTH(DRAIN_WIDTH * K_BITS), .FILE(CONSTANT_FILE), .STYLE(CONSTANT_STYLE), .READ_LATENCY(2)
    ) constants_i (
        .clk, .we, .waddr, .wdata, .en(2'b11), .addr(constant_q), .data(constants)
    );
    logic first_0_q, first_value_q;  // the next part is the first of the row, of its outputs
    logic row_first;
    logic [CONSTANT_ADDR_W-1:0] first_constant;
    vp_delay #(.WIDTH(1 + CONSTANT_ADDR_W), .LENGTH(VALUES - 2)) row_starts (
        .clk, .rst_n(1'b1), .in({step && first_0_q, CONSTANT_ADDR_W'(shape.first_constant)}), .out({row_first, first_constant})
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            first_0_q     <= 1'b1;
            first_value_q <= 1'b1;
        end else begin
            if (step) first_0_q <= row_end;
            if (valid_q[VALUES]) first_value_q <= last_q[VALUES];
        end
    end
    always_ff @(posedge clk) begin
        if (row_first) constant_q <= first_constant;
        else if (valid_q[VALUES-1] && last_q[VALUES-1]) constant_q <= constant_q + 1'b1;
    end

    // --- the next stage: one lane, or 0; then the sum of bias and parts. Its controls in a copy for each output of a token ---
    logic value_valid_q, sum_valid_q;
    logic [N*SUM_BITS-1:0] sums_q;
    always_ff @(posedge clk) begin
        if (!rst_n) {value_valid_q, sum_valid_q} <= '0;
        else {value_valid_q, sum_valid_q} <= {valid_q[VALUES] && last_q[VALUES], value_valid_q};
    end
    for (genvar i = 0; i < DRAIN_WIDTH; i++) begin : g_output
        logic first, used;
        logic [LANE_INDEX_W-1:0] lane;
        vp_copy #(.WIDTH(1 + LANE_INDEX_W)) choice (
            .clk, .in({valid_q[VALUES-1] && !none_q[VALUES-1], lane_q[VALUES-1]}), .out({used, lane})
        );
        vp_copy #(.WIDTH(1)) start_copy (.clk, .in(valid_q[VALUES] && first_value_q), .out(first));
        wire logic signed [BIAS_BITS-1:0] bias = constants[i*BIAS_BITS+:BIAS_BITS];
        for (genvar a = 0; a < ROWS_PER_STEP; a++) begin : g_row
            localparam int unsigned OUTPUT = a * DRAIN_WIDTH + i;
            logic [LANES-1:0][ACC_BITS-1:0] own;
            for (genvar l = 0; l < LANES; l++) begin : g_lane
                assign own[l] = r_value[(l*N+OUTPUT)*ACC_BITS+:ACC_BITS];
            end
            logic signed [ACC_BITS-1:0] value_q;
            logic [SUM_BITS-1:0] sum_q;
            always_ff @(posedge clk) begin
                if (!used) value_q <= '0;
                else value_q <= own[LANES > 1 ? lane : '0];
                sum_q <= (first ? SUM_BITS'(bias) : sum_q) + SUM_BITS'(value_q);
            end
            assign sums_q[OUTPUT*SUM_BITS+:SUM_BITS] = sum_q;
        end
    end

    // Beside the sums of a step: its shift, whether they end a row, the last row that counts, and bits that its outputs have less.
    localparam int unsigned MARK_W = 1 + ROW_W;
    logic [N*OUT_BITS-1:0] made, y;
    logic [LEFT_W-1:0] left;
    logic [FEWER_W-1:0] fewer, made_fewer;
    logic [MARK_W-1:0] mark, made_mark, y_mark;
    logic made_valid, y_valid;
    vp_delay #(.WIDTH(LEFT_W + MARK_W), .LENGTH(VALUES + 2)) beside (
        .clk, .rst_n(1'b1), .in({LEFT_W'(shape.left), row_end, frame_end ? ROW_W'(shape.last_row) : ROW_W'(ROWS_PER_STEP - 1)}),
        .out({left, mark})
    );
    if (CLIPS) begin : g_fewer
        logic [31:0] number;
        vp_engine_values #(.ENCODERS(ENCODERS), .VALUES(FEWER_BITS)) bits_of (
            .clk, .rst_n, .load_in('0), .load_out(), .encoder(drains), .value(number)
        );
        vp_delay #(.WIDTH(FEWER_W), .LENGTH(VALUES + 2)) fewer_then (.clk, .rst_n(1'b1), .in(number[FEWER_W-1:0]), .out(fewer));
    end else begin : g_all_bits
        assign fewer = '0;
    end
    if (REQUANT) begin : g_requant
        logic [DRAIN_WIDTH*MULT_BITS-1:0] mult_q;
        always_ff @(posedge clk) mult_q <= constants[DRAIN_WIDTH*BIAS_BITS+:DRAIN_WIDTH*MULT_BITS];
        vp_requant #(
            .LANES(N), .ACC_WIDTH(SUM_BITS), .MULT_WIDTH(MULT_BITS), .SHIFT(SHIFT),
            .SPAN(SPAN), .OUT_WIDTH(OUT_BITS), .OUT_SIGNED(OUT_SIGNED), .TAG_BITS(FEWER_W + 1 + MARK_W)
        ) requant (
            .clk, .rst_n, .acc(sums_q), .mult({ROWS_PER_STEP{mult_q}}), .left(left), .tag({fewer, mark, sum_valid_q}),
            .out(made), .out_tag({made_fewer, made_mark, made_valid})
        );
    end else begin : g_raw
        for (genvar i = 0; i < N; i++) begin : g_extend
            wire logic signed [SUM_BITS-1:0] sum = sums_q[i*SUM_BITS+:SUM_BITS];
            assign made[i*OUT_BITS+:OUT_BITS] = OUT_BITS'(sum);
        end
        assign {made_fewer, made_mark, made_valid} = {fewer, mark, sum_valid_q};
    end
    if (CLIPS) begin : g_clip
        vp_clip #(.N(N), .BITS(OUT_BITS), .TAG_BITS(1 + MARK_W)) clip (
            .clk, .rst_n, .in(made), .fewer(made_fewer), .tag({made_mark, made_valid}), .out(y), .out_tag({y_mark, y_valid})
        );
    end else begin : g_whole
        assign {y, y_mark, y_valid} = {made, made_mark, made_valid};
    end
    localparam int unsigned PLACE_W = N * OUT_BITS + (ROWS_PER_STEP > 1 ? MARK_W : 0);
    logic [PLACE_W-1:0] place;
    vp_credit_fifo #(.WIDTH(PLACE_W), .DEPTH(PLACES), .STYLE("distributed")) results (
        .clk, .rst_n, .take(step && part_last), .can_take, .push(y_valid), .push_data(PLACE_W'({y_mark, y})),
        .out_data(place), .out_valid, .out_ready
    );
    assign {out_end, out_last_row, out_data} = (MARK_W + N * OUT_BITS)'(place);
endmodule

`default_nettype wire
