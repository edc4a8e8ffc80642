// A hop of the load chain (docs/loading.md): keeps the words of one memory region, BANKS memories of DEPTH words of WIDTH bits,
// and forwards all others. A chain carries {start, valid, 32-bit word} and never waits; start comes alone. After start the
// first words are this region's: memory words in parts of 32 bits, lowest first, word after word, bank after bank, without
// gaps. we, waddr and data go to the memories; bank i has we[i]. Before the first start after reset nothing is kept.
// STAGES registers stand before the hop, whose own outputs are registers.
`default_nettype none

module vp_load_hop #(
    int unsigned BANKS  = 2,
    int unsigned DEPTH  = 12,
    int unsigned WIDTH  = 80,
    int unsigned STAGES = 1,
    localparam int unsigned ADDR_W = vp_pkg::width(DEPTH)
) (
    input  wire logic              clk, rst_n,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out,
    output      logic [BANKS-1:0]  we,
    output      logic [ADDR_W-1:0] waddr,
    output      logic [WIDTH-1:0]  data
);
    localparam int unsigned PARTS = (WIDTH + 31) / 32;

    if (BANKS < 1 || DEPTH < 1 || WIDTH < 1)
        $error("vp_load_hop: BANKS %0d, DEPTH %0d and WIDTH %0d must be at least 1", BANKS, DEPTH, WIDTH);

    logic start, valid;
    logic [31:0] word;
    vp_delay #(.WIDTH(34), .LENGTH(STAGES)) load_later (.clk, .rst_n, .in(load_in), .out({start, valid, word}));

    // --- place of the next word: one bit a part and a bank, so that no net reaches a whole memory word ---
    logic keeping_q;
    logic [PARTS-1:0] part_q;
    logic [ADDR_W-1:0] addr_q;
    logic [BANKS-1:0] bank_q;
    wire logic keep = valid && keeping_q;
    wire logic whole = keep && part_q[PARTS-1];
    logic bank_end_q;  // at the last word
    wire logic bank_end = DEPTH == 1 || bank_end_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            keeping_q <= 1'b0;
        end else if (start) begin
            keeping_q <= 1'b1;
        end else if (whole && bank_end) begin
            keeping_q <= !bank_q[BANKS-1];
        end
    end
    always_ff @(posedge clk) begin  // before the first start nothing is kept, so that these need no reset
        if (start) begin
            part_q     <= PARTS'(1);
            addr_q     <= '0;
            bank_end_q <= 1'b0;
            bank_q     <= BANKS'(1);
        end else if (keep) begin
            part_q <= part_q << 1 | PARTS'(part_q[PARTS-1]);
            if (whole) begin
                addr_q     <= bank_end ? '0 : addr_q + 1'b1;
                bank_end_q <= !bank_end && addr_q == ADDR_W'(DEPTH - 2);
            end
            if (whole && bank_end) bank_q <= bank_q << 1;
        end
    end

    // --- the memory word, written when its last part is in ---
    for (genvar i = 0; i < PARTS; i++) begin : g_part
        localparam int unsigned BITS = i < PARTS - 1 ? 32 : WIDTH - 32 * (PARTS - 1);
        logic [BITS-1:0] part_data_q;
        always_ff @(posedge clk) begin
            if (keep && part_q[i]) part_data_q <= word[BITS-1:0];
        end
        assign data[32*i+:BITS] = part_data_q;
    end
    logic [BANKS-1:0] we_q;
    logic [ADDR_W-1:0] waddr_q;
    initial we_q = '0;  // no write before the first reset into memories that a simulation has filled
    // no always_ff: initial writes it, too
    always @(posedge clk) we_q <= rst_n && whole ? bank_q : '0;
    always_ff @(posedge clk) waddr_q <= addr_q;
    assign we    = we_q;
    assign waddr = waddr_q;

    // --- what is for others ---
    logic [33:0] out_q;
    always_ff @(posedge clk) begin
        out_q[31:0]  <= word;
        out_q[33:32] <= rst_n ? {start, valid && !keeping_q} : '0;
    end
    assign load_out = out_q;
endmodule

`default_nettype wire
