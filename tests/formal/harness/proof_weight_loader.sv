// vp_weight_loader against its contract: the harness pairs addresses and data itself, counts places by part, word and
// bank, and takes a write as done when its answer appears, one cycle after the block performed it. One word of one
// bank is followed, any: what the memory got is what was written. Address bits below a word may be anything.
`default_nettype none

module proof_weight_loader #(
    int unsigned BANKS = 2,
    int unsigned DEPTH = 3,
    int unsigned WIDTH = 40,
    localparam int unsigned PARTS = (WIDTH + 31) / 32,
    localparam int unsigned PB = $clog2(PARTS),
    localparam int unsigned WA = DEPTH > 1 ? $clog2(DEPTH) : 1,
    localparam int unsigned BB = $clog2(BANKS),
    localparam int unsigned ADDR_BITS = BB + WA + PB + 2
) (
    input wire logic                 clk,
    input wire logic                 rst_n,
    input wire logic [7:0]           pick_bank,  // of the followed word
    input wire logic [7:0]           pick_word,
    input wire logic                 awvalid,
    input wire logic [ADDR_BITS-1:0] awaddr,
    input wire logic                 wvalid,
    input wire logic [31:0]          wdata,
    input wire logic                 bready,
    input wire logic                 arvalid,
    input wire logic                 rready
);
    logic awready, wready, bvalid, arready, rvalid, loaded;
    logic [31:0] rdata;
    logic [BANKS-1:0] we;
    logic [WA-1:0] waddr;
    logic [WIDTH-1:0] data;
    vp_weight_loader #(.BANKS(BANKS), .DEPTH(DEPTH), .WIDTH(WIDTH), .ADDR_BITS(ADDR_BITS)) dut (.*);

    // --- the master's side, and the answers' ---
    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(ADDR_BITS), .ASSUME(1'b1)) aw (.clk, .rst_n, .data(awaddr), .valid(awvalid), .ready(awready));
    proof_hold #(.WIDTH(32), .ASSUME(1'b1)) w (.clk, .rst_n, .data(wdata), .valid(wvalid), .ready(wready));
    proof_hold #(.ASSUME(1'b1)) ar (.clk, .rst_n, .data(1'b0), .valid(arvalid), .ready(arready));
    proof_hold b (.clk, .rst_n, .data(1'b0), .valid(bvalid), .ready(bready));
    proof_hold #(.WIDTH(32)) r (.clk, .rst_n, .data(rdata), .valid(rvalid), .ready(rready));

    // --- every write is answered once: an address and a word of data wait for that at most ---
    logic waits_q, aw_q, w_q;
    logic [ADDR_BITS-1:0] addr_q;
    logic [31:0] word_q;
    wire logic done = bvalid && !waits_q;  // an answer begins: the write in addr_q and word_q is performed
    always_ff @(posedge clk) begin
        waits_q <= rst_n && bvalid && !bready;
        aw_q    <= rst_n && ((awvalid && awready) || (aw_q && !done));
        w_q     <= rst_n && ((wvalid && wready) || (w_q && !done));
        if (awvalid && awready) addr_q <= awaddr;
        if (wvalid && wready) word_q <= wdata;
    end
    always_comb begin
        if (rst_n) begin
            p_answer : assert (!done || (aw_q && w_q));
            p_lose_address : assert (!(awvalid && awready && aw_q && !done));
            p_lose_data : assert (!(wvalid && wready && w_q && !done));
            c_data_first : cover (w_q && awvalid && awready);
            c_address_first : cover (aw_q && wvalid && wready);
        end
    end
    proof_progress #(.LIMIT(1)) answer (.clk, .rst_n, .want(aw_q && w_q && (!bvalid || bready)), .done);
    proof_progress #(.LIMIT(1)) take_address (
        .clk, .rst_n, .want(awvalid && (!aw_q || w_q) && (!bvalid || bready)), .done(awready)
    );
    proof_progress #(.LIMIT(1)) take_data (
        .clk, .rst_n, .want(wvalid && (!w_q || aw_q) && (!bvalid || bready)), .done(wready)
    );

    // --- which writes count: the first place, or the one after the last that did, until all are in ---
    logic [7:0] part_q, place_q, bank_q;  // the next place
    logic open_q, open;
    wire logic [7:0] part  = 8'((addr_q >> 2) & ((1 << PB) - 1));
    wire logic [7:0] place = 8'((addr_q >> (2 + PB)) & ((1 << WA) - 1));
    wire logic [7:0] bank  = 8'(addr_q >> (2 + PB + WA));
    wire logic first = part == '0 && place == '0 && bank == '0;
    wire logic next = !open_q && part == part_q && place == place_q && bank == bank_q;
    wire logic counts = done && (first || next);
    wire logic full = part == 8'(PARTS - 1);
    wire logic part_wraps = part == 8'((1 << PB) - 1);
    wire logic place_wraps = part_wraps && place == 8'((1 << WA) - 1);
    always_comb begin
        open = open_q;
        if (counts) open = full && place == 8'(DEPTH - 1) && bank == 8'(BANKS - 1);
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            {part_q, place_q, bank_q} <= '0;
            open_q <= 1'b0;
        end else begin
            open_q <= open;
            if (counts) begin
                part_q  <= part_wraps ? '0 : part + 1'b1;
                place_q <= place_wraps ? '0 : place + 8'(part_wraps);
                bank_q  <= bank + 8'(place_wraps);
            end
        end
    end
    always_comb begin
        if (rst_n) begin
            p_loaded : assert (loaded == open);
            c_loaded : cover (open && !open_q);
            c_again : cover (open_q && !open);
            c_ignored : cover (done && !counts && !open_q && full);
            c_repeated : cover (done && !counts && open_q);
        end
    end

    if (PARTS < 1 << PB) begin : g_padding
        always_comb if (rst_n) c_padding : cover (counts && part >= 8'(PARTS));
    end

    // --- memories are written with the last part of a word, at its place ---
    logic ran_q;
    logic [BANKS-1:0] we_q;
    logic [WA-1:0] waddr_q;
    always_ff @(posedge clk) begin
        ran_q   <= rst_n;
        we_q    <= we;
        waddr_q <= waddr;
    end
    always_comb begin
        if (rst_n && ran_q) begin
            p_write : assert (we_q == (counts && full ? BANKS'(1) << bank : '0));
            p_place : assert (we_q == '0 || 8'(waddr_q) == place);
            c_write : cover (we_q[BANKS-1]);
        end
    end

    // --- the followed word: the parts that counted, and what its memory holds ---
    logic [7:0] pick_bank_q, pick_word_q;
    logic [PARTS-1:0][31:0] want, want_q;
    logic [WIDTH-1:0] memory_q;
    always_ff @(posedge clk) begin
        if (!rst_n) {pick_bank_q, pick_word_q} <= {pick_bank, pick_word};
        want_q <= want;
        if (we[0] && BANKS == 1 && 8'(waddr) == pick_word_q) memory_q <= data;
        if (BANKS > 1 && 8'(waddr) == pick_word_q && we == BANKS'(1) << pick_bank_q) memory_q <= data;
    end
    wire logic followed = pick_bank_q < 8'(BANKS) && pick_word_q < 8'(DEPTH);
    always_comb begin
        want = want_q;
        for (int unsigned i = 0; i < PARTS; i++) begin
            if (counts && part == 8'(i) && place == pick_word_q && bank == pick_bank_q) want[i] = word_q;
        end
    end
    always_comb begin
        if (rst_n && loaded && followed) begin
            p_word : assert (memory_q == WIDTH'(want));
            c_word : cover (pick_word_q == 8'(DEPTH - 1) && pick_bank_q == 8'(BANKS - 1));
        end
    end

    // --- reads: one answer each, with the status of the cycle in which the address was taken ---
    logic read_q, status_q;
    always_ff @(posedge clk) begin
        read_q <= rst_n && ((arvalid && arready) || (read_q && !(rvalid && rready)));
        if (arvalid && arready) status_q <= open;
    end
    always_comb begin
        if (rst_n) begin
            p_read : assert (rvalid == read_q);
            p_lose_read : assert (!(arvalid && arready && read_q && !(rvalid && rready)));
            c_late : cover (rvalid && !rready && rdata[0] != open);
        end
        if (rst_n && rvalid) begin
            p_status : assert (rdata == 32'(status_q));
            c_status : cover (rready && status_q);
        end
    end
    proof_progress #(.LIMIT(1)) take_read (.clk, .rst_n, .want(arvalid && (!rvalid || rready)), .done(arready));
endmodule

`default_nettype wire
