// vp_load_hop against its contract: the harness counts the words since start itself. What is of the region goes to its
// memory when its word is whole, at its place; all else comes out, in order, STAGES + 1 cycles later. One word of one bank
// is followed, any: what the memory got is what came.
`default_nettype none

module proof_load_hop #(
    int unsigned BANKS  = 2,
    int unsigned DEPTH  = 3,
    int unsigned WIDTH  = 40,
    int unsigned STAGES = 1,
    localparam int unsigned PARTS = (WIDTH + 31) / 32,
    localparam int unsigned SIZE = BANKS * DEPTH * PARTS,
    localparam int unsigned WA = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input wire logic        clk,
    input wire logic        rst_n,
    input wire logic [7:0]  pick_bank,  // of the followed word
    input wire logic [7:0]  pick_word,
    input wire logic [33:0] load_in
);
    logic [33:0] load_out;
    logic [BANKS-1:0] we;
    logic [WA-1:0] waddr;
    logic [WIDTH-1:0] data;
    vp_load_hop #(.BANKS(BANKS), .DEPTH(DEPTH), .WIDTH(WIDTH), .STAGES(STAGES)) dut (.*);

    proof_reset reset (.clk, .rst_n);
    always_comb a_alone : assume (!(load_in[33] && load_in[32]));

    // --- what went in, as much later as the hop looks at it ---
    logic start, valid;
    logic [31:0] word;
    if (STAGES == 0) begin : g_now
        assign {start, valid, word} = load_in;
    end else begin : g_later
        logic [33:0] seen_q[STAGES];
        always_ff @(posedge clk) begin
            for (int unsigned i = 0; i < STAGES; i++) seen_q[i] <= rst_n ? (i == 0 ? load_in : seen_q[i-1]) : '0;
        end
        assign {start, valid, word} = seen_q[STAGES-1];
    end

    // --- place of the next word: SIZE where the region has all, or nothing has started ---
    logic [7:0] part_q, place_q, bank_q;
    wire logic mine = bank_q < 8'(BANKS);
    wire logic full = part_q == 8'(PARTS - 1);
    wire logic end_of_bank = full && place_q == 8'(DEPTH - 1);
    always_ff @(posedge clk) begin
        if (!rst_n) {bank_q, place_q, part_q} <= {8'(BANKS), 16'd0};
        else if (start) {bank_q, place_q, part_q} <= '0;
        else if (valid && mine) begin
            part_q  <= full ? '0 : part_q + 1'b1;
            if (full) place_q <= end_of_bank ? '0 : place_q + 1'b1;
            if (end_of_bank) bank_q <= bank_q + 1'b1;
        end
    end

    // --- a cycle later ---
    logic ran_q, start_q, pass_q, whole_q;
    logic [31:0] word_q;
    logic [7:0] was_place_q, was_bank_q;
    always_ff @(posedge clk) begin
        ran_q       <= rst_n;
        start_q     <= start;
        pass_q      <= valid && !mine;
        whole_q     <= valid && mine && full;
        word_q      <= word;
        was_place_q <= place_q;
        was_bank_q  <= bank_q;
    end
    always_comb begin
        if (rst_n && ran_q) begin
            p_control : assert (load_out[33:32] == {start_q, pass_q});
            p_pass : assert (!pass_q || load_out[31:0] == word_q);
            p_write : assert (we == (whole_q ? BANKS'(1) << was_bank_q : '0));
            p_place : assert (!whole_q || 8'(waddr) == was_place_q);
            c_pass : cover (pass_q);
            c_last : cover (we[BANKS-1] && was_place_q == 8'(DEPTH - 1));
        end
        if (rst_n) begin
            c_restart : cover (start && mine && {bank_q, place_q, part_q} != '0);
            c_again : cover (start && !mine && pass_q);
        end
    end

    // --- the followed word ---
    logic [7:0] pick_bank_q, pick_word_q;
    logic [PARTS-1:0][31:0] want_q;
    logic [WIDTH-1:0] memory_q;
    logic whole_pick_q;  // it is whole, and no start came since
    wire logic here = valid && mine && !start && bank_q == pick_bank_q && place_q == pick_word_q;
    always_ff @(posedge clk) begin
        if (!rst_n) {pick_bank_q, pick_word_q} <= {pick_bank, pick_word};
        for (int unsigned i = 0; i < PARTS; i++) if (here && part_q == 8'(i)) want_q[i] <= word;
        if (8'(waddr) == pick_word_q && we == BANKS'(1) << pick_bank_q) memory_q <= data;
        whole_pick_q <= rst_n && !start && ((here && full) || whole_pick_q);
    end
    logic whole_late_q;
    always_ff @(posedge clk) whole_late_q <= rst_n && whole_pick_q && !start;
    wire logic followed = pick_bank_q < 8'(BANKS) && pick_word_q < 8'(DEPTH);
    always_comb begin
        if (rst_n && followed && whole_late_q) begin
            p_word : assert (memory_q == WIDTH'(want_q));
            c_word : cover (pick_word_q == 8'(DEPTH - 1) && pick_bank_q == 8'(BANKS - 1));
        end
    end
endmodule

`default_nettype wire
