// Output stage of the sparse-block matrix unit: reads the lanes' result banks ROWS_PER_STEP tokens at a time, DRAIN_WIDTH
// outputs of each a step in channel order, adds the parts of columns that were cut, adds the bias,
// requantises (or passes the sums on), and emits a frame of ROWS rows (rounded up to ROWS_PER_STEP). Its program,
// the same for all tokens, has an entry per part: {end of row, last part of these outputs, no part (empty
// column), choice among the word's outputs, lane, word}. Outputs that are padding have no entry. An entry
// starts when a place of the FIFO at the output is free; no stage ever waits.
`default_nettype none

module vp_mvau_drain #(
    int unsigned ROWS       = 5,
    int unsigned TOKENS     = 2,
    int unsigned ROWS_PER_STEP    = 1,   // tokens of a step
    int unsigned LANES      = 2,
    int unsigned ENTRIES    = 8,   // most program entries
    int unsigned CONSTANTS  = 4,   // most constant words, one for DRAIN_WIDTH outputs
    int unsigned DRAIN_WIDTH         = 4,
    int unsigned C_SUBS     = 1,   // outputs of a result word / DRAIN_WIDTH
    int unsigned R_WORDS    = 4,
    int unsigned ACC_BITS   = 24,
    int unsigned BIAS_BITS  = 24,
    int unsigned OUT_BITS   = 8,
    bit          OUT_SIGNED = 1'b1,
    bit          REQUANT    = 1'b1,
    int unsigned MULT_BITS  = 17,
    int unsigned SHIFT      = 16,
    parameter    PROGRAM_FILE   = "",
    parameter    PROGRAM_STYLE  = "auto",
    parameter    CONSTANT_FILE  = "",
    parameter    CONSTANT_STYLE = "auto",
    localparam int unsigned R_ADDR_W = 1 + (R_WORDS > 1 ? $clog2(R_WORDS) : 1),
    localparam int unsigned SETS = TOKENS / ROWS_PER_STEP,
    localparam int unsigned SET_W = SETS > 1 ? $clog2(SETS) : 1,
    localparam int unsigned SUB_W = C_SUBS > 1 ? $clog2(C_SUBS) : 1
) (
    input  wire logic                         clk,
    input  wire logic                         rst_n,
    input  wire logic [1:0]                   claim,     // a group starts to fill this bank
    input  wire logic                         done,      // the group in bank done_bank is complete
    input  wire logic                         done_bank,
    output      logic [1:0]                   busy,
    output      logic [R_ADDR_W-1:0]                r_addr,
    output      logic [SET_W-1:0]                r_set,     // which ROWS_PER_STEP tokens; one step after r_addr
    output      logic [SUB_W-1:0]                r_sub,     // beside r_set
    input  wire logic [LANES*ROWS_PER_STEP*DRAIN_WIDTH*ACC_BITS-1:0] r_value,  // two steps after r_addr
    output      logic [ROWS_PER_STEP*DRAIN_WIDTH*OUT_BITS-1:0] out_data, // token after token
    output      logic                         out_valid,
    input  wire logic                         out_ready
);
    localparam int unsigned PROGRAM_ADDR_W = ENTRIES > 1 ? $clog2(ENTRIES) : 1;
    localparam int unsigned CONSTANT_ADDR_W = CONSTANTS > 1 ? $clog2(CONSTANTS) : 1;
    localparam int unsigned LANE_INDEX_W = LANES > 1 ? $clog2(LANES) : 1;
    localparam int unsigned FRAME_SETS = (ROWS + ROWS_PER_STEP - 1) / ROWS_PER_STEP;
    localparam int unsigned FRAME_SET_W = FRAME_SETS > 1 ? $clog2(FRAME_SETS) : 1;
    localparam int unsigned N = ROWS_PER_STEP * DRAIN_WIDTH;  // outputs of a step
    localparam int unsigned WIDTH = 3 + SUB_W + LANE_INDEX_W + R_ADDR_W - 1;
    localparam int unsigned SUM_BITS = (BIAS_BITS > ACC_BITS ? BIAS_BITS : ACC_BITS) + 1;
    localparam int unsigned K_BITS = REQUANT ? BIAS_BITS + MULT_BITS : BIAS_BITS;

    if (TOKENS % ROWS_PER_STEP != 0) begin : g_check
        $error("vp_mvau_drain: ROWS_PER_STEP %0d must divide TOKENS %0d", ROWS_PER_STEP, TOKENS);
    end

    localparam int unsigned PLACES = 31;  // beats under way and waiting: more than there are stages

    // --- banks ---
    logic [1:0] busy_q, full_q;
    logic release_1_q, bank_1_q, valid_1_q;
    wire logic [1:0] release_now = {bank_1_q, !bank_1_q} & {2{valid_1_q && release_1_q}};
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            busy_q <= '0;
            full_q <= '0;
        end else begin
            busy_q <= (busy_q | claim) & ~release_now;
            full_q <= (full_q | ({done_bank, !done_bank} & {2{done}})) & ~release_now;
        end
    end
    assign busy = busy_q;

    // --- program ---
    logic [WIDTH-1:0] entry;
    logic entry_valid_q, bank_q;
    logic [PROGRAM_ADDR_W-1:0] entry_addr_q;
    logic [FRAME_SET_W-1:0] row_q;    // in units of ROWS_PER_STEP, as token_q
    logic [SET_W-1:0] token_q;
    wire logic row_end = entry[WIDTH-1];
    wire logic part_last = entry[WIDTH-2];
    logic can_take;
    wire logic step = can_take && entry_valid_q && full_q[bank_q];
    wire logic fetch = !entry_valid_q || step;
    wire logic [PROGRAM_ADDR_W-1:0] fetch_addr = !entry_valid_q || row_end ? '0 : entry_addr_q + 1'b1;
    logic last_row_q;
    wire logic frame_end = FRAME_SETS == 1 || last_row_q;
    wire logic group_end = row_end && (frame_end || token_q == SET_W'(SETS - 1));

    vp_rom #(.DEPTH(ENTRIES), .WIDTH(WIDTH), .FILE(PROGRAM_FILE), .STYLE(PROGRAM_STYLE)) program_rom (
        .clk, .en(fetch), .addr(fetch_addr), .data(entry)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            entry_valid_q <= 1'b0;
            entry_addr_q  <= '0;
            bank_q        <= 1'b0;
            row_q         <= '0;
            last_row_q    <= 1'b0;
            token_q       <= '0;
        end else begin
            if (fetch) begin
                entry_valid_q <= 1'b1;
                entry_addr_q  <= fetch_addr;
            end
            if (step && row_end) begin
                row_q      <= frame_end ? '0 : row_q + 1'b1;
                last_row_q <= !frame_end && row_q == FRAME_SET_W'(FRAME_SETS - 2);
                token_q    <= group_end ? '0 : token_q + 1'b1;
                bank_q     <= bank_q ^ group_end;
            end
        end
    end

    // --- stage 1: address; 2: bank read; 3: one token's outputs of each lane; 4: one lane ---
    logic valid_2_q, valid_3_q, valid_4_q, valid_5_q;
    logic [SET_W-1:0] token_1_q;
    logic [SUB_W-1:0] sub_1_q;
    logic [LANE_INDEX_W-1:0] lane_1_q, lane_2_q, lane_3_q;
    logic none_1_q, none_2_q, none_3_q;
    logic last_1_q, last_2_q, last_3_q, last_4_q;
    logic row_end_1_q, row_end_2_q, row_end_3_q;
    logic first_4_q;
    logic [N*ACC_BITS-1:0] value_4_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            {valid_1_q, valid_2_q, valid_3_q, valid_4_q, valid_5_q} <= '0;
        end else begin
            valid_1_q <= step;
            valid_2_q <= valid_1_q;
            valid_3_q <= valid_2_q;
            valid_4_q <= valid_3_q;
            valid_5_q <= valid_4_q && last_4_q;
        end
    end
    always_ff @(posedge clk) begin
        {row_end_1_q, last_1_q, none_1_q, sub_1_q, lane_1_q} <= entry[WIDTH-1:R_ADDR_W-1];
        r_addr      <= {bank_q, entry[R_ADDR_W-2:0]};
        bank_1_q    <= bank_q;
        token_1_q   <= token_q;
        release_1_q <= group_end;

        {row_end_2_q, last_2_q, none_2_q, lane_2_q} <= {row_end_1_q, last_1_q, none_1_q, lane_1_q};
        {r_sub, r_set} <= {sub_1_q, token_1_q};

        {row_end_3_q, last_3_q, none_3_q, lane_3_q} <= {row_end_2_q, last_2_q, none_2_q, lane_2_q};

        last_4_q  <= last_3_q;
        value_4_q <= none_3_q ? '0 : r_value[32'(LANES > 1 ? lane_3_q : '0)*N*ACC_BITS+:N*ACC_BITS];
    end

    // --- constants: read beside stage 4 ---
    logic [CONSTANT_ADDR_W-1:0] constant_q;
    logic [DRAIN_WIDTH*K_BITS-1:0] constants;
    vp_rom #(
        .DEPTH(CONSTANTS), .WIDTH(DRAIN_WIDTH * K_BITS), .FILE(CONSTANT_FILE), .STYLE(CONSTANT_STYLE)
    ) constant_rom (
        .clk, .en(1'b1), .addr(constant_q), .data(constants)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            constant_q <= '0;
            first_4_q  <= 1'b1;
        end else begin
            if (valid_3_q && last_3_q) constant_q <= row_end_3_q ? '0 : constant_q + 1'b1;
            if (valid_4_q) first_4_q <= last_4_q;
        end
    end

    // --- stage 5: sum of bias and parts ---
    logic [N*SUM_BITS-1:0] sum_5_q;
    for (genvar i = 0; i < N; i++) begin : g_sum
        wire logic signed [ACC_BITS-1:0] value = value_4_q[i*ACC_BITS+:ACC_BITS];
        wire logic signed [BIAS_BITS-1:0] bias = constants[(i%DRAIN_WIDTH)*BIAS_BITS+:BIAS_BITS];
        wire logic [SUM_BITS-1:0] sum = sum_5_q[i*SUM_BITS+:SUM_BITS];
        always_ff @(posedge clk) begin
            if (valid_4_q) begin
                sum_5_q[i*SUM_BITS+:SUM_BITS] <= (first_4_q ? SUM_BITS'(bias) : sum) + SUM_BITS'(value);
            end
        end
    end

    logic [N*OUT_BITS-1:0] y;
    logic y_valid;
    if (REQUANT) begin : g_requant
        logic [DRAIN_WIDTH*MULT_BITS-1:0] mult_5_q;
        always_ff @(posedge clk) mult_5_q <= constants[DRAIN_WIDTH*BIAS_BITS+:DRAIN_WIDTH*MULT_BITS];
        vp_requant #(
            .LANES(N), .ACC_WIDTH(SUM_BITS), .MULT_WIDTH(MULT_BITS), .SHIFT(SHIFT),
            .OUT_WIDTH(OUT_BITS), .OUT_SIGNED(OUT_SIGNED)
        ) requant (
            .clk, .rst_n, .acc(sum_5_q), .mult({ROWS_PER_STEP{mult_5_q}}), .tag(valid_5_q), .out(y), .out_tag(y_valid)
        );
    end else begin : g_raw
        for (genvar i = 0; i < N; i++) begin : g_extend
            wire logic signed [SUM_BITS-1:0] sum = sum_5_q[i*SUM_BITS+:SUM_BITS];
            assign y[i*OUT_BITS+:OUT_BITS] = OUT_BITS'(sum);
        end
        assign y_valid = valid_5_q;
    end
    vp_credit_fifo #(.WIDTH(N * OUT_BITS), .DEPTH(PLACES), .STYLE("distributed")) results (
        .clk, .rst_n, .take(step && part_last), .can_take, .push(y_valid), .push_data(y), .out_data, .out_valid, .out_ready
    );
endmodule

`default_nettype wire
