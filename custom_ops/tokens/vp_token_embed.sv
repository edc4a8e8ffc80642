// Op top of VitTokenEmbed: PREFIX constant tokens, then TOKENS_IN tokens from the input, each with its
// row of the table added (saturating). The table, which is built in or comes through the load
// chain, holds one row per output token; the rows of the
// constant tokens are their final values and add to zero. Nothing stalls: sums end in a FIFO that has places for them.
`default_nettype none

module vp_token_embed #(
    int unsigned SIMD        = 1,
    int unsigned BITS        = 16,
    int unsigned TOKENS_IN   = 4,
    int unsigned PREFIX      = 1,
    int unsigned TOKEN_BEATS = 1,
    parameter    ROWS_FILE   = "",
    parameter    STYLE       = "distributed",  // or "block"
    int unsigned RAM_ROW     = (PREFIX + TOKENS_IN) * TOKEN_BEATS,  // of vp_row_rom
    int unsigned LATENCY     = 1,                                   // of vp_row_rom
    bit          LOADED      = 1'b0,
    parameter    UNIT        = "",  // the rows have a file of their own
    localparam int unsigned WIDTH  = SIMD * BITS,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out
);
    localparam int unsigned FRAME = (PREFIX + TOKENS_IN) * TOKEN_BEATS;
    localparam int unsigned HEAD = PREFIX * TOKEN_BEATS;
    localparam int unsigned ADDR_W = vp_pkg::width(FRAME);

    // --- beats enter while there are places for their sums; constant tokens wait for their frame, too ---
    logic [WIDTH-1:0] x;
    logic x_valid, can_take;
    logic [ADDR_W-1:0] beat_q;
    logic constant_q;  // the beat that enters is of a constant token
    wire logic take = x_valid && can_take;
    wire logic [ADDR_W-1:0] next = beat_q == ADDR_W'(FRAME - 1) ? '0 : beat_q + 1'b1;
    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(can_take && !constant_q)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q     <= '0;
            constant_q <= HEAD != 0;
        end else if (take) begin
            beat_q <= next;
            if (next == '0) constant_q <= HEAD != 0;
            else if (next == ADDR_W'(HEAD)) constant_q <= 1'b0;
        end
    end

    // --- its row comes LATENCY cycles later, and a cycle after that the sum is there ---
    logic [WIDTH-1:0] x_late, row, sum, sum_q, y;
    logic late, late_q;
    localparam int unsigned RAM_ROWS = (FRAME + RAM_ROW - 1) / RAM_ROW;
    logic we;
    logic [vp_pkg::width(RAM_ROW)-1:0] waddr;
    logic [RAM_ROWS*WIDTH-1:0] wdata;
    vp_load_region #(.LOADED(LOADED), .DEPTH(RAM_ROW), .WIDTH(RAM_ROWS * WIDTH)) region (
        .clk, .rst_n, .load_in, .load_out, .we, .waddr, .data(wdata), .filled()
    );
    vp_row_rom #(.LOADED(LOADED), .DEPTH(FRAME), .WIDTH(WIDTH), .FILE(ROWS_FILE), .STYLE(STYLE), .ROW(RAM_ROW)) rows (
        .clk, .we, .waddr, .wdata, .addr(beat_q), .data(row)
    );
    vp_delay #(.WIDTH(WIDTH + 1), .LENGTH(LATENCY)) later (
        .clk, .rst_n, .in({take, constant_q ? {WIDTH{1'b0}} : x}), .out({late, x_late})
    );
    vp_saturating_add #(.SIMD(SIMD), .BITS(BITS)) add (.a(x_late), .b(row), .sum);
    always_ff @(posedge clk) begin
        late_q <= rst_n && late;
        sum_q  <= sum;
    end
    vp_credit_fifo #(.WIDTH(WIDTH), .DEPTH(LATENCY + 4)) out (
        .clk, .rst_n, .take, .can_take, .push(late_q), .push_data(sum_q),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
