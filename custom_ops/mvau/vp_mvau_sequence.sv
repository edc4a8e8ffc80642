// Sequencer of the sparse-block matrix unit: runs the program of all lanes, in lock-step, once for each
// token group, without a gap between groups. A program entry stands for rows of a block and a group of PE
// outputs (STEPS steps over the rows): {end of group, per lane {end of column part, first word}}. A group starts when its
// rows are there and its result bank is free, and then runs to its end. Whether there is a step is decided a cycle
// ahead. Outputs are registered, but claim and free.
// Of several encoders, each has its program and its weights from STARTS on. Groups come in the order of group,
// which is known before their rows are there: their program is read ahead.
`default_nettype none

module vp_mvau_sequence #(
    int unsigned ENCODERS = 1,
    int unsigned LANES   = 2,
    int unsigned ENTRIES = 32,  // most program entries, of all encoders
    int unsigned PER     = 1,   // of a ROM word
    int unsigned STEPS   = 4,   // steps an entry
    int unsigned W_WORDS = 64,  // most weight words, one a step, of all encoders
    int unsigned BITS    = 4,   // bits of a lane's first word
    int unsigned BUFFERS = 2,   // row buffers and result banks, a power of two
    parameter    FILE    = "",
    parameter    STYLE   = "auto",
    parameter logic [ENCODERS*32-1:0] P_STARTS = '0, W_STARTS = '0,  // by encoder
    bit          LOADED  = 1'b0,  // the program and STARTS come through the load chain
    parameter    UNIT    = "",    // of files from which simulations fill STARTS
    localparam int unsigned BANK_W = $clog2(BUFFERS),
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS),
    localparam int unsigned W_ADDR_W = vp_pkg::width(W_WORDS)
) (
    input  wire logic                      clk, rst_n,
    input  wire logic [33:0]               load_in,
    output      logic [33:0]               load_out,
    input  wire logic [TAG_W-1:0]          group,      // encoder of the next group
    input  wire logic                      group_valid,
    output      logic                      group_ready,
    input  wire logic [BUFFERS-1:0]        full,       // row buffers that hold a group
    input  wire logic [BUFFERS-1:0]        busy,       // result banks that are in use
    output      logic [BUFFERS-1:0]        claim,      // takes a result bank (in the cycle of the first step)
    output      logic [TAG_W-1:0]          claim_group, // encoder of the group that does
    output      logic [BUFFERS-1:0]        free,       // gives a row buffer back (in the cycle of the last step)
    output      logic [W_ADDR_W-1:0]       w_addr,
    output      logic                      step_start, // first step of a group
    output      logic                      step_end,   // last step of a group
    output      logic [BANK_W-1:0]         step_bank,  // row buffer and result bank of the group
    output      logic [LANES-1:0]          step_first, // first step of a column part
    output      logic [LANES-1:0]          step_last,  // last step of a column part
    output      logic [LANES*BITS-1:0]     step_word
);
    localparam bit SEVERAL = ENCODERS > 1;
    localparam int unsigned STEP_W = vp_pkg::width(STEPS);
    localparam int unsigned WIDTH = 1 + LANES * (1 + BITS);

    logic [WIDTH-1:0] entry;
    logic entry_valid, entry_coming, go_q, start_q;  // start_q: the next step is a group's first
    logic [BANK_W-1:0] bank_q;
    logic [STEP_W-1:0] step_q;
    logic entry_first_q, entry_done_q;         // the next step is the entry's first, its last

    wire logic group_done = go_q && entry_done_q && entry[WIDTH-1];
    wire logic [BUFFERS-1:0] bank = BUFFERS'(1) << bank_q;
    wire logic [BUFFERS-1:0] next_bank = group_done ? {bank[BUFFERS-2:0], bank[BUFFERS-1]} : bank;
    wire logic next_valid = SEVERAL && group_done ? entry_coming : entry_valid;
    assign claim = bank & {BUFFERS{go_q && start_q}};
    assign free  = bank & {BUFFERS{group_done}};

    // Groups that come, the one whose program is read next, the one that starts next.
    localparam int unsigned P_WORDS = (ENTRIES + PER - 1) / PER;
    localparam int unsigned P_ADDR_W = vp_pkg::width(P_WORDS) + $clog2(PER);
    logic [TAG_W-1:0] waiting, read;
    logic waiting_valid, waiting_ready, start_valid, start_ready, starts_known, starts_room;
    logic [31:0] start, first_weight;
    logic [1:0][33:0] load;
    if (SEVERAL) begin : g_groups
        vp_skid #(.WIDTH(TAG_W)) groups (
            .clk, .rst_n, .in_data(group), .in_valid(group_valid), .in_ready(group_ready),
            .out_data(waiting), .out_valid(waiting_valid), .out_ready(waiting_ready)
        );
    end else begin : g_same
        assign {group_ready, waiting, waiting_valid} = {1'b1, TAG_W'(0), 1'b1};
    end
    vp_engine_table #(
        .ENCODERS(ENCODERS), .VALUES(P_STARTS), .LOADED(LOADED), .FILE({UNIT, "_program_starts.fill"})
    ) read_next (
        .clk, .rst_n, .load_in, .load_out(load[0]), .encoder(waiting), .encoder_valid(waiting_valid), .encoder_ready(waiting_ready),
        .value(start), .of(read), .value_valid(start_valid), .value_ready(start_ready)
    );
    vp_engine_table #(
        .ENCODERS(ENCODERS), .VALUES(W_STARTS), .LOADED(LOADED), .FILE({UNIT, "_weight_starts.fill"})
    ) starts_next (
        .clk, .rst_n, .load_in(load[0]), .load_out(load[1]),
        .encoder(read), .encoder_valid(start_valid && start_ready), .encoder_ready(starts_room),
        .value(first_weight), .of(claim_group), .value_valid(starts_known), .value_ready(|claim)
    );
    vp_mvau_program #(
        .ENTRIES(ENTRIES), .WIDTH(WIDTH), .PER(PER), .SEVERAL(SEVERAL), .LOADED(LOADED), .FILE(FILE), .STYLE(STYLE)
    ) program_i (
        .clk, .rst_n, .load_in(load[1]), .load_out,
        .next(go_q && entry_done_q), .again(1'b0), .start(P_ADDR_W'(start)), .start_valid, .start_ready,
        .entry, .valid(entry_valid), .coming(entry_coming)
    );
`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && SEVERAL && start_valid && start_ready && !starts_room) $fatal(1, "vp_mvau_sequence: a group was lost");
        if (rst_n && SEVERAL && |claim && !starts_known) $fatal(1, "vp_mvau_sequence: a group starts that is not known");
    end
`endif

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            go_q          <= 1'b0;
            start_q       <= 1'b1;
            step_q        <= '0;
            entry_first_q <= 1'b1;
            entry_done_q  <= STEPS == 1;
            bank_q        <= '0;
            step_start    <= 1'b0;
            step_end      <= 1'b0;
        end else begin
            go_q <= (go_q && !group_done) || (next_valid && |(next_bank & full & ~busy));
            if (go_q) begin
                start_q       <= group_done;
                step_q        <= entry_done_q ? '0 : step_q + 1'b1;
                entry_first_q <= entry_done_q;
                entry_done_q  <= STEPS == 1 || (!entry_done_q && step_q == STEP_W'(STEPS - 2));
            end
            bank_q     <= bank_q + BANK_W'(group_done);
            step_start <= go_q && start_q;
            step_end   <= group_done;
        end
    end

    always_ff @(posedge clk) begin
        step_bank <= bank_q;
        if (go_q) w_addr <= start_q ? W_ADDR_W'(first_weight) : w_addr + 1'b1;
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
