// Sequencer of the sparse-block matrix unit: runs the program of all lanes, in lock-step, once for each
// token group, without a gap between groups. A program entry stands for rows of a block and a group of PE
// outputs (STEPS steps over the rows): {end of group, per lane {end of column part, first word}}. A group starts when its
// rows are there and its result bank is free, and then runs to its end. Whether there is a step is decided a cycle
// ahead. Outputs are registered, but claim and free.
`default_nettype none

module vp_mvau_sequence #(
    int unsigned LANES   = 2,
    int unsigned ENTRIES = 32,  // most program entries
    int unsigned PER     = 1,   // of a ROM word
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
    output      logic [1:0]                free,       // gives a row buffer back (in the cycle of the last step)
    output      logic [W_ADDR_W-1:0]             w_addr,
    output      logic                      step_start, // first step of a group
    output      logic                      step_end,   // last step of a group
    output      logic                      step_bank,  // row buffer and result bank of the group
    output      logic [LANES-1:0]          step_first, // first step of a column part
    output      logic [LANES-1:0]          step_last,  // last step of a column part
    output      logic [LANES*BITS-1:0]     step_word
);
    localparam int unsigned STEP_W = STEPS > 1 ? $clog2(STEPS) : 1;
    localparam int unsigned WIDTH = 1 + LANES * (1 + BITS);

    logic [WIDTH-1:0] entry;
    logic entry_valid, go_q, start_q, bank_q;  // start_q: the next step is a group's first
    logic [STEP_W-1:0] step_q;
    logic entry_first_q, entry_done_q;         // the next step is the entry's first, its last

    wire logic group_done = go_q && entry_done_q && entry[WIDTH-1];
    wire logic [1:0] bank = {bank_q, !bank_q};
    wire logic [1:0] next_bank = group_done ? ~bank : bank;
    assign claim = bank & {2{go_q && start_q}};
    assign free  = bank & {2{group_done}};

    vp_mvau_program #(.ENTRIES(ENTRIES), .WIDTH(WIDTH), .PER(PER), .FILE(FILE), .STYLE(STYLE)) program_i (
        .clk, .rst_n, .next(go_q && entry_done_q), .entry, .valid(entry_valid)
    );

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            go_q          <= 1'b0;
            start_q       <= 1'b1;
            step_q        <= '0;
            entry_first_q <= 1'b1;
            entry_done_q  <= STEPS == 1;
            bank_q        <= 1'b0;
            step_start    <= 1'b0;
            step_end      <= 1'b0;
        end else begin
            go_q <= (go_q && !group_done) || (entry_valid && |(next_bank & full & ~busy));
            if (go_q) begin
                start_q       <= group_done;
                step_q        <= entry_done_q ? '0 : step_q + 1'b1;
                entry_first_q <= entry_done_q;
                entry_done_q  <= STEPS == 1 || (!entry_done_q && step_q == STEP_W'(STEPS - 2));
            end
            bank_q     <= bank_q ^ group_done;
            step_start <= go_q && start_q;
            step_end   <= group_done;
        end
    end

    always_ff @(posedge clk) begin
        step_bank <= bank_q;
        if (go_q) w_addr <= start_q ? '0 : w_addr + 1'b1;
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
                if (go_q) part_first_q <= entry_done_q && (part_end || entry[WIDTH-1]);
                step_last[l] <= go_q && entry_done_q && part_end;
            end
        end
        always_ff @(posedge clk) begin
            step_first[l] <= part_first_q;
            if (go_q) step_word[l*BITS+:BITS] <= entry_first_q ? base : step_word[l*BITS+:BITS] + 1'b1;
        end
    end
endmodule

`default_nettype wire
