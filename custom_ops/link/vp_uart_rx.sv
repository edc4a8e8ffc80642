// Receiver of a serial line, 8 bits, no parity, one stop bit, lowest bit first. A bit takes CLKS_PER_BIT + CLKS_FRACTION / 256 cycles.
// Two registers bring rx to this clock. A start bit that is gone at its middle was none. A byte stays at the output until it is taken;
// with error it is damaged: no stop bit was there (the line may be broken: the next byte begins once it was high), or a byte before it
// was not taken in time.
`default_nettype none

module vp_uart_rx #(
    int unsigned CLKS_PER_BIT  = 8,
    int unsigned CLKS_FRACTION = 0  // in 256ths
) (
    input  wire logic       clk,
    input  wire logic       rst_n,
    input  wire logic       rx,
    output      logic [7:0] out_data,
    output      logic       out_error,
    output      logic       out_valid,
    input  wire logic       out_ready
);
    localparam int unsigned COUNT_W = $clog2(CLKS_PER_BIT + 1);
    localparam logic [3:0] BITS = 4'd10;  // start, data, stop

    if (CLKS_PER_BIT < 4 || CLKS_FRACTION > 255) begin : g_check
        $error("vp_uart_rx: CLKS_PER_BIT %0d must be at least 4, CLKS_FRACTION %0d at most 255", CLKS_PER_BIT, CLKS_FRACTION);
    end

    (* ASYNC_REG = "TRUE" *) logic [1:0] rx_q;
    always_ff @(posedge clk) rx_q <= {rx_q[0], rx};
    wire logic line = rx_q[1];

    logic [COUNT_W-1:0] count_q;  // cycles to the middle of the next bit
    logic [7:0] part_q;           // 256ths of a cycle that are due
    logic [3:0] left_q;           // bits to come, 0: none
    logic [8:0] bits_q;
    logic broken_q, valid_q, error_q, missed_q;
    logic [7:0] data_q;
    wire logic middle = left_q != '0 && count_q == '0;
    wire logic [8:0] part = 9'(part_q) + 9'(CLKS_FRACTION);
    wire logic last = middle && left_q == 4'd1;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            left_q   <= '0;
            broken_q <= 1'b1;  // until the line is seen high
            valid_q  <= 1'b0;
        end else begin
            if (left_q == '0) begin
                if (!line && !broken_q) left_q <= BITS;
            end else if (middle) begin
                left_q <= left_q == BITS && line ? '0 : left_q - 1'b1;
            end
            broken_q <= !line && (broken_q || last);
            valid_q  <= last || (valid_q && !out_ready);
        end
    end
    always_ff @(posedge clk) begin
        if (left_q == '0) begin
            count_q <= COUNT_W'(CLKS_PER_BIT / 2 - 1);
            part_q  <= '0;
        end else if (middle) begin
            count_q <= part[8] ? COUNT_W'(CLKS_PER_BIT) : COUNT_W'(CLKS_PER_BIT - 1);
            part_q  <= part[7:0];
            bits_q  <= {line, bits_q[8:1]};
        end else begin
            count_q <= count_q - 1'b1;
        end
        if (last) begin
            data_q   <= bits_q[8:1];
            error_q  <= !line;
            missed_q <= valid_q && !out_ready;
        end
    end
    assign out_data  = data_q;
    assign out_error = error_q || missed_q;
    assign out_valid = valid_q;
endmodule

`default_nettype wire
