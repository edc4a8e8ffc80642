// Loads the weights of a unit over AXI4-Lite: BANKS memories of DEPTH words of WIDTH bits. A word has
// 32-bit parts, lowest first, in places padded to a power of two; so has a bank its words:
//   byte address = {bank, word, part, 2'b00}
// Writes count in ascending order from address 0 only, the padding between words and banks included: one
// that is not the next is answered but has no effect, one to address 0 begins anew. A word is written with
// its last part. loaded rises with the last part of the last word of the last bank, and falls when loading
// begins anew. A read gives loaded in bit 0, at every address. All answers are OKAY; there are no strobes.
`default_nettype none

module vp_weight_loader #(
    int unsigned BANKS     = 2,
    int unsigned DEPTH     = 12,
    int unsigned WIDTH     = 80,
    int unsigned ADDR_BITS = 9,
    localparam int unsigned WORD_ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  wire logic                 clk,
    input  wire logic                 rst_n,
    input  wire logic                 awvalid,
    output      logic                 awready,
    input  wire logic [ADDR_BITS-1:0] awaddr,
    input  wire logic                 wvalid,
    output      logic                 wready,
    input  wire logic [31:0]          wdata,
    output      logic                 bvalid,
    input  wire logic                 bready,
    input  wire logic                 arvalid,
    output      logic                 arready,
    output      logic                 rvalid,
    input  wire logic                 rready,
    output      logic [31:0]          rdata,
    output      logic [BANKS-1:0]     we,
    output      logic [WORD_ADDR_W-1:0]        waddr,
    output      logic [WIDTH-1:0]     data,
    output      logic                 loaded
);
    localparam int unsigned PARTS = (WIDTH + 31) / 32;
    localparam int unsigned PART_BITS = $clog2(PARTS);
    localparam int unsigned INDEX_BITS = $clog2(BANKS) + WORD_ADDR_W + PART_BITS;
    localparam int unsigned LAST_ADDR = ((((BANKS - 1) << WORD_ADDR_W) + DEPTH - 1) << PART_BITS) + PARTS - 1;

    if (ADDR_BITS != INDEX_BITS + 2) begin : g_check
        $error("vp_weight_loader: ADDR_BITS %0d must be %0d for %0d banks of %0d words of %0d bits",
               ADDR_BITS, INDEX_BITS + 2, BANKS, DEPTH, WIDTH);
    end

    // --- write channel: address and data come in any order, one of each is held ---
    logic aw_full_q, w_full_q, b_q;
    logic [INDEX_BITS-1:0] index_q;
    logic [31:0] w_q;
    wire logic take = aw_full_q && w_full_q && (!b_q || bready);
    assign awready = !aw_full_q;
    assign wready  = !w_full_q;
    assign bvalid  = b_q;
    always_ff @(posedge clk) begin
        if (awvalid && awready) index_q <= awaddr[ADDR_BITS-1:2];
        if (wvalid && wready) w_q <= wdata;
        if (!rst_n) begin
            aw_full_q <= 1'b0;
            w_full_q  <= 1'b0;
            b_q       <= 1'b0;
        end else begin
            aw_full_q <= aw_full_q ? !take : awvalid;
            w_full_q  <= w_full_q ? !take : wvalid;
            b_q       <= take || (b_q && !bready);
        end
    end

    // --- place of the next part; what is out of order has none ---
    logic [INDEX_BITS-1:0] next_q;
    logic loaded_q;
    wire logic hit = take && (index_q == '0 || (index_q == next_q && !loaded_q));
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            next_q   <= '0;
            loaded_q <= 1'b0;
        end else if (hit) begin
            next_q   <= index_q + 1'b1;
            loaded_q <= index_q == INDEX_BITS'(LAST_ADDR);
        end
    end
    assign loaded = loaded_q;

    // --- gathering: the parts before the last move down a register ---
    logic last;
    if (PARTS > 1) begin : g_gather
        logic [32*(PARTS-1)-1:0] held_q;
        wire logic [32*PARTS-1:0] gathered = {w_q, held_q};
        always_ff @(posedge clk) begin
            if (hit) held_q <= gathered[32*PARTS-1:32];
        end
        assign data = gathered[WIDTH-1:0];
        assign last = index_q[PART_BITS-1:0] == PART_BITS'(PARTS - 1);
    end else begin : g_whole
        assign data = w_q[WIDTH-1:0];
        assign last = 1'b1;
    end
    assign waddr = index_q[PART_BITS+:WORD_ADDR_W];
    if (BANKS > 1) begin : g_banks
        assign we = BANKS'(hit && last) << index_q[INDEX_BITS-1:PART_BITS+WORD_ADDR_W];
    end else begin : g_bank
        assign we = hit && last;
    end

    // --- read channel ---
    logic r_q, r_loaded_q;
    assign arready = !r_q;
    assign rvalid  = r_q;
    assign rdata   = 32'(r_loaded_q);
    always_ff @(posedge clk) begin
        if (arvalid && arready) r_loaded_q <= loaded_q;
        r_q <= rst_n && (r_q ? !rready : arvalid);
    end
endmodule

`default_nettype wire
