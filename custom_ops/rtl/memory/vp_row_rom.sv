// vp_rom of many words in rows of ROW words, a power of two, so that no multiplexer lies behind a RAM: rows lie side by side
// in the words of one ROM, and are chosen from after its output register, a register after each LUT of four rows. Up to ROW
// words (and in LUTs) there is one row, and nothing to choose. Reads never stall: a word comes LATENCY cycles after its address.
// Contents come from FILE as those of vp_rom; word i holds words i, i + ROW, i + 2 ROW, ... of the rows, the first one lowest.
`default_nettype none

module vp_row_rom #(
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    FILE  = "",
    parameter    STYLE = "block",  // "distributed" or "block"
    int unsigned ROW   = DEPTH,
    localparam int unsigned ROWS = (DEPTH + ROW - 1) / ROW,
    localparam int unsigned GROUPS = (ROWS + 3) / 4,  // rows that are left after the first LUT
    localparam int unsigned LATENCY = (STYLE == "distributed" ? 1 : 2) + (ROWS > 1 ? 1 : 0) + (GROUPS > 1 ? 1 : 0),
    localparam int unsigned ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  wire logic              clk,
    input  wire logic [ADDR_W-1:0] addr,
    output      logic [WIDTH-1:0]  data
);
    if (ROWS > 1 && ((ROW & (ROW - 1)) != 0 || ROWS > 16 || STYLE == "distributed")) begin : g_check
        $error("vp_row_rom: ROW %0d must be a power of two, %0d rows in %s are too many", ROW, ROWS, STYLE);
    end

    if (ROWS == 1) begin : g_single
        vp_rom #(.DEPTH(DEPTH), .WIDTH(WIDTH), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(LATENCY)) rom (
            .clk, .en('1), .addr, .data
        );
    end else begin : g_rows
        localparam int unsigned WORD_W = $clog2(ROW);
        localparam int unsigned GROUP_W = GROUPS > 1 ? $clog2(GROUPS) : 1;
        logic [ROWS*WIDTH-1:0] word;
        vp_rom #(.DEPTH(ROW), .WIDTH(ROWS * WIDTH), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(2)) rom (
            .clk, .en('1), .addr(addr[WORD_W-1:0]), .data(word)
        );
        wire logic [GROUPS-1:0][3:0][WIDTH-1:0] words = (GROUPS * 4 * WIDTH)'(word);

        logic [3:0] row_1_q, row_2_q;  // of the word that is read, with its ROM's registers
        logic [GROUPS-1:0][WIDTH-1:0] group_q;
        always_ff @(posedge clk) begin
            row_1_q <= 4'(addr[ADDR_W-1:WORD_W]);
            row_2_q <= row_1_q;
            for (int unsigned i = 0; i < GROUPS; i++) group_q[i] <= words[i][row_2_q[1:0]];
        end
        if (GROUPS == 1) begin : g_one
            assign data = group_q[0];
        end else begin : g_more
            logic [GROUP_W-1:0] group_3_q;
            logic [WIDTH-1:0] data_q;
            always_ff @(posedge clk) begin
                group_3_q <= row_2_q[2+:GROUP_W];
                data_q    <= group_q[group_3_q];
            end
            assign data = data_q;
        end
    end
endmodule

`default_nettype wire
