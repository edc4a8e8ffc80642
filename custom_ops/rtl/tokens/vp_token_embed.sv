// Op top of VitTokenEmbed: PREFIX constant tokens, then TOKENS_IN tokens from the input, each with its
// row of the table added (saturating). The table holds one row per output token; the rows of the
// constant tokens are their final values and add to zero. Rows are read ahead, into a FIFO.
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
    localparam int unsigned WIDTH  = SIMD * BITS,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic              rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready
);
    localparam int unsigned FRAME = (PREFIX + TOKENS_IN) * TOKEN_BEATS;
    localparam int unsigned HEAD = PREFIX * TOKEN_BEATS;
    localparam int unsigned ADDR_W = FRAME > 1 ? $clog2(FRAME) : 1;

    // --- rows in order, as long as the FIFO has places for them ---
    logic [ADDR_W-1:0] beat_q;
    logic constant_q;  // the row at beat_q is of a constant token
    logic read, come, come_constant;
    logic [WIDTH-1:0] come_row;
    wire logic [ADDR_W-1:0] next = beat_q == ADDR_W'(FRAME - 1) ? '0 : beat_q + 1'b1;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q     <= '0;
            constant_q <= HEAD != 0;
        end else if (read) begin
            beat_q <= next;
            if (next == '0) constant_q <= HEAD != 0;
            else if (next == ADDR_W'(HEAD)) constant_q <= 1'b0;
        end
    end
    vp_row_rom #(.DEPTH(FRAME), .WIDTH(WIDTH), .FILE(ROWS_FILE), .STYLE(STYLE), .ROW(RAM_ROW)) rows (
        .clk, .addr(beat_q), .data(come_row)
    );
    vp_delay #(.WIDTH(2), .LENGTH(LATENCY)) reads (.clk, .rst_n, .in({read, constant_q}), .out({come, come_constant}));

    logic [WIDTH-1:0] x, row, sum, y;
    logic x_valid, row_valid, constant, sum_ready;
    wire logic issue = sum_ready && x_valid && row_valid;  // constant tokens wait for their frame, too
    vp_credit_fifo #(.WIDTH(WIDTH + 1), .DEPTH(LATENCY + 3)) ahead (
        .clk, .rst_n, .take(read), .can_take(read), .push(come), .push_data({come_constant, come_row}),
        .out_data({constant, row}), .out_valid(row_valid), .out_ready(issue)
    );

    // --- the sum ---
    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(issue && !constant)
    );
    vp_saturating_add #(.SIMD(SIMD), .BITS(BITS)) add (.a(constant ? '0 : x), .b(row), .sum);
    vp_stage #(.WIDTH(WIDTH)) stage (
        .clk, .rst_n, .in_data(sum), .in_valid(x_valid && row_valid), .in_ready(sum_ready),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
