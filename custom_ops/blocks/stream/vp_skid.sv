// Two-beat stream register: valid, data and ready are all registered, full throughput.
// Cuts every combinational path between its two sides. Ready is low during reset.
`default_nettype none

module vp_skid #(
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
    if (WIDTH < 1) $error("vp_skid: WIDTH is %0d, it must be at least 1", WIDTH);

    logic [WIDTH-1:0] out_data_q, spare_data_q;
    logic out_valid_q, spare_full_q, spare_full_d, in_ready_q;

    wire logic take = in_valid && in_ready_q;
    wire logic move = !out_valid_q || out_ready;

    always_comb begin
        spare_full_d = spare_full_q;
        if (move) spare_full_d = 1'b0;
        else if (take) spare_full_d = 1'b1;
    end

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            out_valid_q  <= 1'b0;
            spare_full_q <= 1'b0;
            in_ready_q   <= 1'b0;
        end else begin
            if (move) out_valid_q <= spare_full_q || take;
            spare_full_q <= spare_full_d;
            in_ready_q   <= !spare_full_d;
        end
    end

    always_ff @(posedge clk) begin
        if (move) out_data_q <= spare_full_q ? spare_data_q : in_data;
        if (in_ready_q) spare_data_q <= in_data;
    end

    assign in_ready  = in_ready_q;
    assign out_valid = out_valid_q;
    assign out_data  = out_data_q;
endmodule

`default_nettype wire
