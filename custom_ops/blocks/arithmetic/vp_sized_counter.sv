// vp_counter with a count that comes as data: counts steps from 0 to COUNT - 1 and starts again; last is high while count is
// COUNT - 1. less_2 is COUNT - 2, of which the sign says that COUNT is 1; it may change between a last step and the next one.
`default_nettype none

module vp_sized_counter #(
    int unsigned MOST = 4,  // COUNT at most
    localparam int unsigned COUNT_W = vp_pkg::width(MOST)
) (
    input  wire logic               clk, rst_n,
    input  wire logic [COUNT_W:0]   less_2,
    input  wire logic               step,
    output      logic [COUNT_W-1:0] count,
    output      logic               last
);
    if (MOST < 1) $error("vp_sized_counter: MOST %0d must be at least 1", MOST);

    logic last_q;
    assign last = less_2[COUNT_W] || last_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            count  <= '0;
            last_q <= 1'b0;
        end else if (step) begin
            count  <= last ? '0 : count + 1'b1;
            last_q <= count == less_2[COUNT_W-1:0];
        end
    end
endmodule

`default_nettype wire
