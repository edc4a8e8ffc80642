// Op top of VitTokenEmbed: PREFIX constant tokens, then TOKENS_IN tokens from the input, each with its
// row of the table added (saturating). The table holds one row per output token; the rows of the
// constant tokens are their final values and add to zero. Rows are read ahead: in block RAM a read takes three cycles,
// its output register's and that of one more, from which the sum is made.
`default_nettype none

module vp_token_embed #(
    int unsigned SIMD        = 1,
    int unsigned BITS        = 16,
    int unsigned TOKENS_IN   = 4,
    int unsigned PREFIX      = 1,
    int unsigned TOKEN_BEATS = 1,
    parameter    ROWS_FILE   = "",
    parameter    STYLE       = "auto",
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

    localparam int unsigned READ = STYLE == "block" ? 3 : 1;

    logic [WIDTH-1:0] x, row, sum, y;
    logic x_valid, sum_ready;
    logic [READ:0] constant_q;  // of the beat that is read, and of those read before; index READ: of row
    logic [READ-1:0] unread_q;  // ones, as many as reads until the first row is there
    logic [ADDR_W-1:0] beat_q;
    wire logic constant = constant_q[READ];
    wire logic issue = sum_ready && x_valid && !unread_q[0];  // constant tokens wait for their frame, too
    wire logic read = issue || unread_q[0];
    wire logic [ADDR_W-1:0] next = beat_q == ADDR_W'(FRAME - 1) ? '0 : beat_q + 1'b1;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q        <= '0;
            constant_q[0] <= HEAD != 0;
            unread_q      <= '1;
        end else begin
            unread_q <= unread_q >> 1;
            if (read) begin
                beat_q <= next;
                if (next == '0) constant_q[0] <= HEAD != 0;
                else if (next == ADDR_W'(HEAD)) constant_q[0] <= 1'b0;
            end
        end
        if (read) constant_q[READ:1] <= constant_q[READ-1:0];
    end

    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(issue && !constant)
    );
    vp_rom #(.DEPTH(FRAME), .WIDTH(WIDTH), .FILE(ROWS_FILE), .STYLE(STYLE), .READ_LATENCY(READ)) rows (
        .clk, .en({READ{read}}), .addr(beat_q), .data(row)
    );
    vp_saturating_add #(.SIMD(SIMD), .BITS(BITS)) add (.a(constant ? '0 : x), .b(row), .sum);
    vp_stage #(.WIDTH(WIDTH)) stage (
        .clk, .rst_n, .in_data(sum), .in_valid(x_valid && !unread_q[0]), .in_ready(sum_ready),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
