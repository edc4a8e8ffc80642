// Reads a program of the sparse-block matrix unit over and over: entry is the present one, next moves on to the one after it,
// in every cycle if need be. A word is {wrap, entry}; wrap says that the entry four places on is the first again, which
// leaves time for a ROM with an output register. The length is thus data, at least 4: contents repeat shorter programs. A word of
// the ROM holds PER entries, the first lowest: few block RAMs then follow one another in a deep program.
`default_nettype none

module vp_mvau_program #(
    int unsigned ENTRIES = 32,  // most entries
    int unsigned WIDTH   = 8,   // bits of one
    int unsigned PER     = 1,   // a power of two
    parameter    FILE    = "",
    parameter    STYLE   = "auto"
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic             next,
    output      logic [WIDTH-1:0] entry,
    output      logic             valid
);
    localparam int unsigned WORDS = (ENTRIES + PER - 1) / PER;
    localparam int unsigned ADDR_W = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam int unsigned SUB_W = $clog2(PER);

    if (PER < 1 || (PER & (PER - 1)) != 0) begin : g_check
        $error("vp_mvau_program: PER %0d must be a power of two", PER);
    end

    logic [ADDR_W+SUB_W-1:0] addr_q;
    logic [PER-1:0][WIDTH:0] words;
    logic [WIDTH:0] word, word_q;
    logic [2:0] valid_q;
    wire logic en = next || !valid_q[2];

    vp_rom #(.DEPTH(WORDS), .WIDTH(PER * (WIDTH + 1)), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(2)) rom (
        .clk, .en({2{en}}), .addr(addr_q[SUB_W+:ADDR_W]), .data(words)
    );
    if (PER > 1) begin : g_choose
        logic [1:0][SUB_W-1:0] sub_q;
        always_ff @(posedge clk) if (en) sub_q <= {sub_q[0], addr_q[SUB_W-1:0]};
        assign word = words[sub_q[1]];
    end else begin : g_whole
        assign word = words;
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            addr_q  <= '0;
            valid_q <= '0;
        end else if (en) begin
            addr_q  <= valid_q[2] && word_q[WIDTH] ? '0 : addr_q + 1'b1;
            valid_q <= {valid_q[1:0], 1'b1};
        end
    end
    always_ff @(posedge clk) if (en) word_q <= word;
    assign entry = word_q[WIDTH-1:0];
    assign valid = valid_q[2];
endmodule

`default_nettype wire
