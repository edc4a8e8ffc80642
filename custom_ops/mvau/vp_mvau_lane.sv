// One lane of the sparse-block matrix unit: its copy of the row group, its multiply-accumulate array
// and its bank of results. Rows are written on the left, read at one address for all TOKENS rows; the
// sums of a finished column part go to the next places of the result bank, and the drain reads
// DRAIN_WIDTH elements of ROWS_PER_STEP tokens from it. Both memories have BUFFERS parts by the top address bits. The lane
// only follows its sequencer: it never waits, and it does not know which block it works on.
`default_nettype none

module vp_mvau_lane #(
    int unsigned TOKENS = 2, SIMD = 4, PE = 4, X_BITS = 8, W_BITS = 8, ACC_BITS = 24,
    bit          X_SIGNED = 1'b1,
    // row memory: elements of a word, SIMD times a power of two; words of a row; cycles from a step to its elements
    int unsigned X_ELEMS = 4, X_WORDS = 8, X_CYCLES = 3,
    // result bank: outputs of a word, the larger of PE and DRAIN_WIDTH; words of a token group; cycles from an address to values
    int unsigned R_ELEMS = 4, R_WORDS = 8, R_CYCLES = 3,
    int unsigned DRAIN_WIDTH = 4, ROWS_PER_STEP = 1,  // outputs that the drain reads, of so many tokens
    parameter    X_STYLE = "auto", R_STYLE = "auto", MAC_STYLE = "portable",
    int unsigned MAC_LATENCY = 6, MAC_CHAIN = 1, MAC_TOKENS = 1, MAC_OUTPUTS = 1,
    int unsigned BUFFERS = 2,    // row buffers and result banks
    int unsigned MAC_LATER = 0,  // cycles that sums wait for those of other lanes
    localparam int unsigned BANK_W = $clog2(BUFFERS),
    localparam int unsigned X_ADDR_W = BANK_W + vp_pkg::width(X_WORDS),
    localparam int unsigned X_INDEX_W = X_ADDR_W + $clog2(X_ELEMS / SIMD),
    localparam int unsigned WORD_W = vp_pkg::width(R_WORDS),
    localparam int unsigned R_ADDR_W = BANK_W + WORD_W,
    localparam int unsigned SETS = TOKENS / ROWS_PER_STEP
) (
    input  wire logic                      clk, rst_n,
    // row memory, write side
    input  wire logic [TOKENS-1:0]         x_we,
    input  wire logic [X_ADDR_W-1:0]       x_waddr,
    input  wire logic [X_ELEMS*X_BITS-1:0] x_wdata,
    // one step: which SIMD elements of the rows; the weights come X_CYCLES later, part i of MAC_CHAIN another i cycles (see vp_mac)
    input  wire logic [X_INDEX_W-1:0]      step_index,
    input  wire logic                      step_first,  // first step of a column part
    input  wire logic                      step_last,   // last step of a column part
    input  wire logic                      step_start,  // first step of a token group
    input  wire logic                      step_end,    // last step of a token group
    input  wire logic [BANK_W-1:0]         step_bank,   // result bank of the group
    input  wire logic [PE*SIMD*W_BITS-1:0] weights,
    output      logic                      done,        // the group's last sum is written in the next cycle
    output      logic [BANK_W-1:0]         done_bank,
    // result bank, read side: value comes after R_CYCLES
    input  wire logic [R_ADDR_W-1:0]       c_addr,
    input  wire logic [vp_pkg::width(SETS)-1:0] c_set,       // with c_sub, one cycle after c_addr
    input  wire logic [vp_pkg::width(R_ELEMS / DRAIN_WIDTH)-1:0] c_sub,
    output      logic [ROWS_PER_STEP*DRAIN_WIDTH*ACC_BITS-1:0] c_value
);
    localparam int unsigned X_SUBS = X_ELEMS / SIMD;
    localparam int unsigned R_SUBS = R_ELEMS / PE;
    localparam int unsigned C_SUBS = R_ELEMS / DRAIN_WIDTH;
    localparam int unsigned CHOICES = SETS * C_SUBS;  // of the values that the drain reads
    localparam int unsigned CHOICE_BITS = vp_pkg::width(CHOICES);

    // --- row memories and the choice of SIMD elements: addresses a row, read, choice, registers after each ---
    localparam int unsigned X_SUB_W = vp_pkg::width(X_SUBS);
    localparam int unsigned X_READ = X_STYLE == "block" ? 2 : 1;  // cycles of a read
    if (X_CYCLES != 1 + X_READ + (X_SUB_W + 1) / 2 || R_CYCLES != 2 + (CHOICE_BITS + 1) / 2)
        $error("vp_mvau_lane: X_CYCLES %0d or R_CYCLES %0d does not fit %0d and %0d choices", X_CYCLES, R_CYCLES, X_SUBS, CHOICES);
    logic [TOKENS*SIMD*X_BITS-1:0] x;
    logic [X_ELEMS*X_BITS-1:0] wdata_q;
    always_ff @(posedge clk) wdata_q <= x_wdata;
    for (genvar t = 0; t < TOKENS; t++) begin : g_row
        logic we;
        logic [X_ADDR_W-1:0] waddr;
        logic [X_INDEX_W-1:0] index;
        logic [X_ELEMS*X_BITS-1:0] word;
        vp_copy #(.WIDTH(1 + X_ADDR_W)) write (.clk, .in({x_we[t], x_waddr}), .out({we, waddr}));
        vp_copy #(.WIDTH(X_INDEX_W)) read (.clk, .in(step_index), .out(index));
        vp_ram #(
            .DEPTH(1 << X_ADDR_W), .WIDTH(X_ELEMS * X_BITS), .STYLE(X_STYLE), .READ_LATENCY(X_READ)
        ) ram (
            .clk, .we, .waddr, .wdata(wdata_q), .re({X_READ{1'b1}}), .zero(1'b0), .raddr(index[X_INDEX_W-1-:X_ADDR_W]),
            .rdata(word)
        );
        logic [X_SUB_W-1:0] sub;
        vp_delay #(.WIDTH(X_SUB_W), .LENGTH(X_READ)) subs (
            .clk, .rst_n(1'b1), .in(X_SUBS > 1 ? index[X_SUB_W-1:0] : '0), .out(sub)
        );
        vp_choose #(.N(X_SUBS), .WIDTH(SIMD * X_BITS)) elements (
            .clk, .words(word), .choice(sub), .word(x[t*SIMD*X_BITS+:SIMD*X_BITS])
        );
    end

    // --- multiply and accumulate ---
    localparam int unsigned TAG_W = 3 + BANK_W;
    logic [TAG_W:0] step;
    vp_delay #(.WIDTH(1 + TAG_W), .LENGTH(X_CYCLES)) steps (
        .clk, .rst_n, .in({step_first, step_last, step_start, step_end, step_bank}), .out(step)
    );

    logic [TOKENS*PE*ACC_BITS-1:0] made, acc;
    logic [TAG_W-1:0] made_tag;
    logic last, start, group_end;  // a cycle before the sums
    logic [BANK_W-1:0] bank;
    vp_mac #(
        .TOKENS(TOKENS), .SIMD(SIMD), .PE(PE), .X_BITS(X_BITS), .X_SIGNED(X_SIGNED),
        .W_BITS(W_BITS), .ACC_BITS(ACC_BITS), .TAG_BITS(TAG_W),
        .MAC_STYLE(MAC_STYLE), .LATENCY(MAC_LATENCY), .CHAIN(MAC_CHAIN), .TOKENS_PER(MAC_TOKENS), .OUTPUTS_PER(MAC_OUTPUTS)
    ) mac (
        .clk, .rst_n, .x, .w(weights), .first(step[TAG_W]), .tag(step[TAG_W-1:0]), .acc(made), .tag_out(made_tag)
    );
    vp_delay #(.WIDTH(TAG_W), .LENGTH(MAC_LATER)) tags_later (.clk, .rst_n, .in(made_tag), .out({last, start, group_end, bank}));
    vp_delay #(.WIDTH(TOKENS * PE * ACC_BITS), .LENGTH(MAC_LATER)) sums_later (.clk, .rst_n(1'b1), .in(made), .out(acc));

    // --- result bank: its addresses are made a cycle ahead, and in LUTRAM each row has its own ---
    localparam int unsigned ROWS = R_STYLE == "block" ? TOKENS : 1;  // of a RAM
    logic [WORD_W-1:0] word_q;
    wire logic [WORD_W-1:0] word = start ? '0 : word_q;
    logic [R_SUBS-1:0] write_sub;
    logic word_done;
    if (R_SUBS > 1) begin : g_write_sub
        logic [R_SUBS-1:0] sub_q;  // one hot
        wire logic [R_SUBS-1:0] sub = start ? R_SUBS'(1) : sub_q;
        always_ff @(posedge clk) sub_q <= last ? {sub[R_SUBS-2:0], sub[R_SUBS-1]} : sub;
        assign write_sub = sub;
        assign word_done = sub[R_SUBS-1];
    end else begin : g_write_whole
        assign write_sub = 1'b1;
        assign word_done = 1'b1;
    end
    always_ff @(posedge clk) word_q <= word + WORD_W'(last && word_done);

    assign done = group_end;
    assign done_bank = bank;

    logic [TOKENS*R_ELEMS*ACC_BITS-1:0] result;  // result[t][element]
    for (genvar t = 0; t < TOKENS; t += ROWS) begin : g_bank
        logic [R_SUBS-1:0] we;
        logic [R_ADDR_W-1:0] waddr, raddr;
        vp_copy #(.WIDTH(R_SUBS + R_ADDR_W)) write (
            .clk, .in({write_sub & {R_SUBS{last}}, bank, word}), .out({we, waddr})
        );
        vp_copy #(.WIDTH(R_ADDR_W)) read (.clk, .in(c_addr), .out(raddr));
        for (genvar r = 0; r < R_SUBS; r++) begin : g_result
            logic [ROWS*PE*ACC_BITS-1:0] rdata;
            vp_ram #(.DEPTH(1 << R_ADDR_W), .WIDTH(ROWS * PE * ACC_BITS), .STYLE(R_STYLE)) ram (
                .clk, .we(we[r]), .waddr, .wdata(acc[t*PE*ACC_BITS+:ROWS*PE*ACC_BITS]),
                .re(1'b1), .zero(1'b0), .raddr, .rdata
            );
            for (genvar i = 0; i < ROWS; i++) begin : g_token
                assign result[((t+i)*R_ELEMS+r*PE)*ACC_BITS+:PE*ACC_BITS] = rdata[i*PE*ACC_BITS+:PE*ACC_BITS];
            end
        end
    end

    // Token a of the set has the places a, a + ROWS_PER_STEP, ... of the group.
    wire logic [CHOICE_BITS-1:0] choice = CHOICE_BITS'((SETS > 1 ? c_set : '0) * C_SUBS + (C_SUBS > 1 ? c_sub : '0));
    for (genvar i = 0; i < DRAIN_WIDTH; i++) begin : g_output
        logic [CHOICE_BITS-1:0] own_choice;
        vp_copy #(.WIDTH(CHOICE_BITS)) chosen (.clk, .in(choice), .out(own_choice));
        for (genvar a = 0; a < ROWS_PER_STEP; a++) begin : g_drain
            logic [CHOICES*ACC_BITS-1:0] own;
            for (genvar c = 0; c < CHOICES; c++) begin : g_choice
                localparam int unsigned TOKEN = c / C_SUBS * ROWS_PER_STEP + a;
                assign own[c*ACC_BITS+:ACC_BITS] = result[(TOKEN*R_ELEMS+c%C_SUBS*DRAIN_WIDTH+i)*ACC_BITS+:ACC_BITS];
            end
            vp_choose #(.N(CHOICES), .WIDTH(ACC_BITS)) value (
                .clk, .words(own), .choice(own_choice), .word(c_value[(a*DRAIN_WIDTH+i)*ACC_BITS+:ACC_BITS])
            );
        end
    end
endmodule

`default_nettype wire
