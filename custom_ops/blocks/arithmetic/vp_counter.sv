// Counts steps from 0 to COUNT - 1 and starts again. last, a register, is high while count is COUNT - 1.
`default_nettype none

module vp_counter #(
    int unsigned COUNT = 4,
    localparam int unsigned COUNT_W = vp_pkg::width(COUNT)
) (
    input  wire logic               clk, rst_n,
    input  wire logic               step,
    output      logic [COUNT_W-1:0] count,
    output      logic               last
);
    if (COUNT < 1) $error("vp_counter: COUNT %0d must be at least 1", COUNT);

    if (COUNT == 1) begin : g_one
        assign count = '0;
        assign last  = 1'b1;
    end else begin : g_count
        logic [COUNT_W-1:0] count_q;
        logic last_q;
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                count_q <= '0;
                last_q  <= 1'b0;
            end else if (step) begin
                count_q <= last_q ? '0 : count_q + 1'b1;
                last_q  <= count_q == COUNT_W'(COUNT - 2);
            end
        end
        assign count = count_q;
        assign last  = last_q;
    end
endmodule

`default_nettype wire
