// Delays WIDTH bits by LENGTH cycles, 0 or more. Reset clears the bits under way; where they need none (rst_n
// tied high), synthesis tools make shift registers in LUTs of long delays.
`default_nettype none

module vp_delay #(
    int unsigned WIDTH  = 1,
    int unsigned LENGTH = 1
) (
    input  wire logic             clk, rst_n,
    input  wire logic [WIDTH-1:0] in,
    output      logic [WIDTH-1:0] out
);
    if (LENGTH == 0) begin : g_none
        assign out = in;
    end else begin : g_delay
        logic [LENGTH-1:0][WIDTH-1:0] delay_q;
        always_ff @(posedge clk) begin
            if (!rst_n) delay_q <= '0;
            else delay_q <= (LENGTH * WIDTH)'({delay_q, in});
        end
        assign out = delay_q[LENGTH-1];
    end
endmodule

`default_nettype wire
