// vp_contents of many words with no logic behind its RAM but registers: the words are cut in rows of ROW, a power of two, that lie side
// by side in the words of one block RAM, and vp_choose takes one row after the RAM's output register. A ROM of one row has that
// register too: what reads the word then has its whole cycle. In LUTs there is one row, and nothing to choose. Reads never stall:
// a word comes LATENCY cycles after its address.
// Word i of the contents holds words i, i + ROW, i + 2 ROW, ... of the rows, the first one lowest.
`default_nettype none

module vp_row_rom #(
    bit          LOADED = 1'b0,
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    FILE  = "",
    parameter    STYLE = "block",  // "distributed" or "block"
    int unsigned ROW   = DEPTH,
    localparam int unsigned ROWS = (DEPTH + ROW - 1) / ROW,
    localparam int unsigned ROW_W = vp_pkg::width(ROWS),
    localparam int unsigned CHOICE = STYLE == "distributed" ? 0 : (ROW_W + 1) / 2,  // cycles
    localparam int unsigned LATENCY = (STYLE == "distributed" ? 1 : 2) + CHOICE,
    localparam int unsigned WORD_W = vp_pkg::width(ROW),
    localparam int unsigned ADDR_W = vp_pkg::width(DEPTH)
) (
    input  wire logic              clk,
    input  wire logic              we,
    input  wire logic [WORD_W-1:0] waddr,
    input  wire logic [ROWS*WIDTH-1:0] wdata,
    input  wire logic [ADDR_W-1:0] addr,
    output      logic [WIDTH-1:0]  data
);
    if (ROWS > 1 && ((ROW & (ROW - 1)) != 0 || STYLE == "distributed"))
        $error("vp_row_rom: ROW %0d must be a power of two, rows in %s are not possible", ROW, STYLE);

    if (STYLE == "distributed") begin : g_luts
        vp_contents #(.LOADED(LOADED), .DEPTH(DEPTH), .WIDTH(WIDTH), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(LATENCY)) words (
            .clk, .we, .waddr(ADDR_W'(waddr)), .wdata(WIDTH'(wdata)), .en('1), .addr, .data
        );
    end else begin : g_rows
        logic [ROWS*WIDTH-1:0] words;
        logic [ROW_W-1:0] row;
        vp_contents #(.LOADED(LOADED), .DEPTH(ROW), .WIDTH(ROWS * WIDTH), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(2)) side_by_side (
            .clk, .we, .waddr, .wdata, .en('1), .addr(addr[WORD_W-1:0]), .data(words)
        );
        vp_delay #(.WIDTH(ROW_W), .LENGTH(2)) read (.clk, .rst_n(1'b1), .in(ROW_W'(addr >> WORD_W)), .out(row));
        vp_choose #(.N(ROWS), .WIDTH(WIDTH)) choice (.clk, .words, .choice(row), .word(data));
    end
endmodule

`default_nettype wire
