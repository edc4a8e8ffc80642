// vp_ram of many words in rows of ROW words, a power of two, so that no multiplexer lies behind a RAM: every row has its
// output registers, and rows are joined after them, a register after each LUT. In block RAM each row is a RAM that reads
// zero while another row is read, and OR joins six. In UltraRAM rows lie side by side in one word, so that narrow rows
// share an UltraRAM, and AND and OR join three. Up to ROW words (and in LUTRAM) there is one row, and nothing to join.
// Reads never stall: a word comes LATENCY cycles after re and raddr; it is undefined where re was low.
`default_nettype none

module vp_row_ram #(
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    STYLE = "block",  // "distributed", "block" or "ultra"
    int unsigned ROW   = DEPTH,
    localparam int unsigned ROWS = (DEPTH + ROW - 1) / ROW,
    localparam int unsigned JOINED = STYLE == "ultra" ? 3 : 6,  // rows that the first LUT joins
    localparam int unsigned GROUPS = (ROWS + JOINED - 1) / JOINED,
    localparam int unsigned LATENCY = (STYLE == "distributed" ? 1 : 2) + (ROWS > 1 ? 1 : 0) + (GROUPS > 1 ? 1 : 0),
    localparam int unsigned ADDR_W = vp_pkg::width(DEPTH)
) (
    input  wire logic              clk,
    input  wire logic              we,
    input  wire logic [ADDR_W-1:0] waddr,
    input  wire logic [WIDTH-1:0]  wdata,
    input  wire logic              re,
    input  wire logic [ADDR_W-1:0] raddr,
    output      logic [WIDTH-1:0]  rdata
);
    if (ROWS > 1 && ((ROW & (ROW - 1)) != 0 || GROUPS > 6 || STYLE == "distributed"))
        $error("vp_row_ram: ROW %0d must be a power of two, %0d rows in %s are too many", ROW, ROWS, STYLE);

    if (ROWS == 1) begin : g_single
        vp_ram #(.DEPTH(DEPTH), .WIDTH(WIDTH), .STYLE(STYLE), .READ_LATENCY(LATENCY)) ram (
            .clk, .we, .waddr, .wdata, .re(LATENCY'({{LATENCY{1'b1}}, re})), .zero(1'b0), .raddr, .rdata
        );
    end else begin : g_rows
        localparam int unsigned WORD_W = $clog2(ROW);
        localparam int unsigned ROW_W = ADDR_W - WORD_W;
        wire logic [ROW_W-1:0] wrow = waddr[ADDR_W-1:WORD_W];
        wire logic [ROW_W-1:0] rrow = raddr[ADDR_W-1:WORD_W];
        logic [ROWS*WIDTH-1:0] words;  // zero but of the row that was read

        if (STYLE == "ultra") begin : g_ultra
            (* ram_style = "ultra" *) logic [ROWS*WIDTH-1:0] mem[ROW];
            logic [ROWS*WIDTH-1:0] read_q;
            (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
            logic [ROWS*WIDTH-1:0] out_q;
            logic [ROWS-1:0] row_1_q, row_2_q;
            always @(posedge clk) begin  // no always_ff: a simulation fills mem, too (vp_loaded_ram)
                for (int unsigned i = 0; i < ROWS; i++) begin
                    if (we && wrow == ROW_W'(i)) mem[waddr[WORD_W-1:0]][i*WIDTH+:WIDTH] <= wdata;
                    row_1_q[i] <= rrow == ROW_W'(i);
                end
                if (re) read_q <= mem[raddr[WORD_W-1:0]];
                out_q   <= read_q;
                row_2_q <= row_1_q;
            end
            always_comb begin
                for (int unsigned i = 0; i < ROWS; i++)
                    words[i*WIDTH+:WIDTH] = row_2_q[i] ? out_q[i*WIDTH+:WIDTH] : '0;
            end
        end else begin : g_block
            for (genvar i = 0; i < ROWS; i++) begin : g_row
                localparam int unsigned HELD = i == ROWS - 1 ? DEPTH - i * ROW : ROW;
                localparam int unsigned HELD_W = vp_pkg::width(HELD);
                vp_ram #(.DEPTH(HELD), .WIDTH(WIDTH), .STYLE(STYLE), .READ_LATENCY(2)) ram (
                    .clk, .we(we && wrow == ROW_W'(i)), .waddr(waddr[HELD_W-1:0]), .wdata,
                    .re({1'b1, re}), .zero(rrow != ROW_W'(i)), .raddr(raddr[HELD_W-1:0]), .rdata(words[i*WIDTH+:WIDTH])
                );
            end
        end

        logic [GROUPS-1:0][WIDTH-1:0] group_q, group_d;
        always_comb begin
            group_d = '0;
            for (int unsigned i = 0; i < ROWS; i++) group_d[i/JOINED] |= words[i*WIDTH+:WIDTH];
        end
        always_ff @(posedge clk) group_q <= group_d;
        if (GROUPS == 1) begin : g_one
            assign rdata = group_q[0];
        end else begin : g_more
            logic [WIDTH-1:0] any;
            always_comb begin
                any = '0;
                for (int unsigned i = 0; i < GROUPS; i++) any |= group_q[i];
            end
            always_ff @(posedge clk) rdata <= any;
        end
    end
endmodule

`default_nettype wire
