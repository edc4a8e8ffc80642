// Reads programs of the sparse-block matrix unit: entry is the present one, next moves on to the one after it,
// in every cycle if need be. A word is {wrap, entry}; wrap says that the entry four places on is the first of a program, which
// leaves time for a ROM with an output register. Lengths are thus data, at least 4: contents repeat shorter programs, or fill them
// up. A word of the ROM holds PER entries, the first lowest: few block RAMs then follow one another in a deep program.
// With SEVERAL programs the unit says which one follows, where it begins (start); again runs the present one once more. While
// neither is known there are no entries after those of the present program. A single program runs over and over, from when it is
// loaded.
`default_nettype none

module vp_mvau_program #(
    int unsigned ENTRIES = 32,  // most entries
    int unsigned WIDTH   = 8,   // bits of one
    int unsigned PER     = 1,   // a power of two
    bit          SEVERAL = 1'b0,
    bit          LOADED  = 1'b0,
    parameter    FILE    = "",
    parameter    STYLE   = "auto",
    localparam int unsigned WORDS = (ENTRIES + PER - 1) / PER,
    localparam int unsigned ADDR_W = vp_pkg::width(WORDS),
    localparam int unsigned SUB_W = $clog2(PER)
) (
    input  wire logic                    clk, rst_n,
    input  wire logic [33:0]             load_in,
    output      logic [33:0]             load_out,
    input  wire logic                    next,
    input  wire logic                    again,
    input  wire logic [ADDR_W+SUB_W-1:0] start,
    input  wire logic                    start_valid,
    output      logic                    start_ready,  // takes it
    output      logic [WIDTH-1:0]        entry,
    output      logic                    valid,
    output      logic                    coming        // the entry after it is there
);

    if (PER < 1 || (PER & (PER - 1)) != 0) $error("vp_mvau_program: PER %0d must be a power of two", PER);

    logic [ADDR_W+SUB_W-1:0] addr_q, first_q;  // first entry of the program that is read
    logic known_q;                             // there is an entry at the address
    wire logic known = !SEVERAL || known_q;
    logic [PER-1:0][WIDTH:0] words;
    logic [WIDTH:0] word, word_q;
    logic [2:0] valid_q;
    wire logic en = next || !valid_q[2];
    wire logic wrap = valid_q[2] && word_q[WIDTH];
    assign start_ready = SEVERAL && (!known_q || (en && wrap && !again));

    localparam int unsigned WORD_W = PER * (WIDTH + 1);
    logic we;
    logic [ADDR_W-1:0] waddr;
    logic [WORD_W-1:0] wdata;
    logic filled;
    vp_load_region #(.LOADED(LOADED), .DEPTH(WORDS), .WIDTH(WORD_W)) region (
        .clk, .rst_n, .load_in, .load_out, .we, .waddr, .data(wdata), .filled
    );
    vp_contents #(.LOADED(LOADED), .DEPTH(WORDS), .WIDTH(WORD_W), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(2)) contents (
        .clk, .we, .waddr, .wdata, .en({2{en}}), .addr(addr_q[SUB_W+:ADDR_W]), .data(words)
    );
    if (PER > 1) begin : g_choose
        logic [1:0][SUB_W-1:0] sub_q;
        always_ff @(posedge clk) if (en) sub_q <= {sub_q[0], addr_q[SUB_W-1:0]};
        assign word = words[sub_q[1]];
    end else begin : g_whole
        assign word = words;
    end
    always_ff @(posedge clk) begin
        if (!rst_n || !filled) begin
            addr_q  <= '0;
            known_q <= 1'b0;
            valid_q <= '0;
        end else begin
            if (start_ready) begin
                addr_q  <= start;
                known_q <= start_valid;
            end else if (en) begin
                addr_q  <= !wrap ? addr_q + 1'b1 : SEVERAL ? first_q : '0;
            end
            if (en) valid_q <= {valid_q[1:0], known};
        end
    end
    always_ff @(posedge clk) begin
        if (en) word_q <= word;
        if (start_ready) first_q <= start;
    end
    assign entry  = word_q[WIDTH-1:0];
    assign valid  = valid_q[2];
    assign coming = valid_q[1];
endmodule

`default_nettype wire
