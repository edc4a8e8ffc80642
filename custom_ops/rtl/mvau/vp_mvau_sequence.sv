// Sequencer of the sparse-block matrix unit: runs the program of all lanes, in lock-step, once for each
// token group, without a gap between groups. A program entry stands for rows of a block and a group of PE
// outputs (STEPS steps over the rows): {end of program, per lane {end of column part, first word}}. The
// length of the program is its end flag, so that it is data. A group starts when its rows are there
// and its result bank is free. Outputs are registered.
`default_nettype none

module vp_mvau_sequence #(
    int unsigned LANES   = 2,
    int unsigned ENTRIES = 16,  // most program entries
    int unsigned STEPS   = 4,   // steps an entry
    int unsigned W_WORDS = 64,  // most weight words, one a step
    int unsigned BITS    = 4,   // bits of a lane's first word
    parameter    FILE    = "",
    parameter    STYLE   = "auto",
    localparam int unsigned W_ADDR_W = W_WORDS > 1 ? $clog2(W_WORDS) : 1
) (
    input  wire logic                      clk,
    input  wire logic                      rst_n,
    input  wire logic [1:0]                full,       // row buffers that hold a group
    input  wire logic [1:0]                busy,       // result banks that are in use
    output      logic [1:0]                claim,      // takes a result bank (in the cycle of the first step)
    output      logic [1:0]                free,       // gives a row buffer back
    output      logic [W_ADDR_W-1:0]             w_addr,
    output      logic                      step_start, // first step of a group
    output      logic                      step_end,   // last step of a group
    output      logic                      step_bank,  // row buffer and result bank of the group
    output      logic [LANES-1:0]          step_first, // first step of a column part
    output      logic [LANES-1:0]          step_last,  // last step of a column part
    output      logic [LANES*BITS-1:0]     step_word
);
    localparam int unsigned PROGRAM_ADDR_W = ENTRIES > 1 ? $clog2(ENTRIES) : 1;
    localparam int unsigned STEP_W = STEPS > 1 ? $clog2(STEPS) : 1;
    localparam int unsigned WIDTH = 1 + LANES * (1 + BITS);

    logic [WIDTH-1:0] entry;
    logic entry_valid_q, entry_first_q, bank_q;
    logic [PROGRAM_ADDR_W-1:0] entry_addr_q, fetch_addr;
    logic [STEP_W-1:0] step_q;

    wire logic entry_end = entry[WIDTH-1];
    wire logic at_start = entry_first_q && step_q == '0;
    wire logic step = entry_valid_q && (!at_start || (full[bank_q] && !busy[bank_q]));
    wire logic entry_done = step_q == STEP_W'(STEPS - 1);
    wire logic fetch = !entry_valid_q || (step && entry_done);
    assign fetch_addr = !entry_valid_q || entry_end ? '0 : entry_addr_q + 1'b1;
    assign claim = {bank_q, !bank_q} & {2{step && at_start}};

    vp_rom #(.DEPTH(ENTRIES), .WIDTH(WIDTH), .FILE(FILE), .STYLE(STYLE)) program_rom (
        .clk, .en(fetch), .addr(fetch_addr), .data(entry)
    );

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            entry_valid_q <= 1'b0;
            entry_first_q <= 1'b1;
            entry_addr_q  <= '0;
            step_q        <= '0;
            bank_q        <= 1'b0;
            step_start    <= 1'b0;
            step_end      <= 1'b0;
            free          <= '0;
        end else begin
            if (fetch) begin
                entry_valid_q <= 1'b1;
                entry_addr_q  <= fetch_addr;
                entry_first_q <= !entry_valid_q || entry_end;
            end
            if (step) step_q <= entry_done ? '0 : step_q + 1'b1;
            if (step && entry_done && entry_end) bank_q <= !bank_q;
            step_start <= step && at_start;
            step_end   <= step && entry_done && entry_end;
            free       <= {bank_q, !bank_q} & {2{step && entry_done && entry_end}};
        end
    end

    always_ff @(posedge clk) begin
        step_bank <= bank_q;
        if (step) w_addr <= at_start ? '0 : w_addr + 1'b1;
    end

    for (genvar l = 0; l < LANES; l++) begin : g_lane
        wire logic part_end = entry[l*(1+BITS)+BITS];
        wire logic [BITS-1:0] base = entry[l*(1+BITS)+:BITS];
        logic part_first_q;  // the next step begins a column part
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                part_first_q  <= 1'b1;
                step_last[l]  <= 1'b0;
            end else begin
                if (step) part_first_q <= entry_done && (part_end || entry_end);
                step_last[l] <= step && entry_done && part_end;
            end
        end
        always_ff @(posedge clk) begin
            step_first[l] <= part_first_q;
            if (step) step_word[l*BITS+:BITS] <= step_q == '0 ? base : step_word[l*BITS+:BITS] + 1'b1;
        end
    end
endmodule

`default_nettype wire
