// Forks one stream to NUM consumers. Every consumer takes every beat once, in different cycles if it
// must (eager); the beat leaves the input when the last one has it. Data is shared: all consumers see
// out_data. No storage of beats: ready passes through, so put a vp_skid or vp_fifo after each output.
`default_nettype none

module vp_fork #(
    int unsigned WIDTH = 8,
    int unsigned NUM   = 2
) (
    input  wire logic             clk, rst_n,
    input  wire logic [WIDTH-1:0] in_data,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [WIDTH-1:0] out_data,
    output      logic [NUM-1:0]   out_valid,
    input  wire logic [NUM-1:0]   out_ready
);
    if (WIDTH < 1 || NUM < 1) $error("vp_fork: WIDTH %0d and NUM %0d must be at least 1", WIDTH, NUM);

    logic [NUM-1:0] done_q;  // consumers that already took the beat at the input
    wire logic [NUM-1:0] taken = done_q | out_ready;

    assign in_ready  = &taken;
    assign out_valid = {NUM{in_valid}} & ~done_q;
    assign out_data  = in_data;

    always_ff @(posedge clk) begin
        if (!rst_n) done_q <= '0;
        else if (in_valid) done_q <= in_ready ? '0 : taken;
    end
endmodule

`default_nettype wire
