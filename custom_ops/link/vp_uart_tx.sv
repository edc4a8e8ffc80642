// Sender of a serial line, 8 bits, no parity, one stop bit, lowest bit first. A bit takes CLKS_PER_BIT + CLKS_FRACTION / 256 cycles.
// The line is a register, high while nothing is sent and in a reset. Bytes follow each other without a gap where the next one is there.
`default_nettype none

module vp_uart_tx #(
    int unsigned CLKS_PER_BIT  = 8,
    int unsigned CLKS_FRACTION = 0  // in 256ths
) (
    input  wire logic       clk,
    input  wire logic       rst_n,
    input  wire logic [7:0] in_data,
    input  wire logic       in_valid,
    output      logic       in_ready,
    output      logic       tx
);
    localparam int unsigned COUNT_W = $clog2(CLKS_PER_BIT + 1);
    localparam logic [3:0] BITS = 4'd10;  // start, data, stop

    if (CLKS_PER_BIT < 4 || CLKS_FRACTION > 255) begin : g_check
        $error("vp_uart_tx: CLKS_PER_BIT %0d must be at least 4, CLKS_FRACTION %0d at most 255", CLKS_PER_BIT, CLKS_FRACTION);
    end

    logic [COUNT_W-1:0] count_q;  // cycles that the bit at the line still has
    logic [7:0] part_q;           // 256ths of a cycle that are due
    logic [3:0] left_q;           // bits at the line and after it, 0: none
    logic [8:0] bits_q;           // the line, and what follows
    logic started_q;              // a reset is over
    wire logic ends = count_q == '0;
    wire logic [8:0] part = 9'(part_q) + 9'(CLKS_FRACTION);
    wire logic take = in_valid && in_ready;
    assign in_ready = started_q && (left_q == '0 || (left_q == 4'd1 && ends));

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            left_q    <= '0;
            bits_q    <= '1;
            started_q <= 1'b0;
        end else begin
            started_q <= 1'b1;
            if (take) begin
                left_q <= BITS;
                bits_q <= {in_data, 1'b0};
            end else if (left_q != '0 && ends) begin
                left_q <= left_q - 1'b1;
                bits_q <= {1'b1, bits_q[8:1]};
            end
        end
    end
    always_ff @(posedge clk) begin
        if (take || ends) begin
            count_q <= part[8] ? COUNT_W'(CLKS_PER_BIT) : COUNT_W'(CLKS_PER_BIT - 1);
            part_q  <= part[7:0];
        end else begin
            count_q <= count_q - 1'b1;
        end
    end
    assign tx = bits_q[0];
endmodule

`default_nettype wire
