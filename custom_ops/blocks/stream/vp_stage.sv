// One-beat output register: valid and data are registered, ready passes through. Full throughput at no
// LUT per data bit. For outputs of an op, whose consumer registers its ready.
`default_nettype none

module vp_stage #(
    int unsigned WIDTH = 8
) (
    input  wire logic             clk, rst_n,
    input  wire logic [WIDTH-1:0] in_data,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [WIDTH-1:0] out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    logic [WIDTH-1:0] data_q;
    logic valid_q;

    assign in_ready  = !valid_q || out_ready;
    assign out_valid = valid_q;
    assign out_data  = data_q;

    always_ff @(posedge clk) begin
        if (!rst_n) valid_q <= 1'b0;
        else if (in_ready) valid_q <= in_valid;
    end
    always_ff @(posedge clk) begin
        if (in_ready) data_q <= in_data;
    end
endmodule

`default_nettype wire
