// In the place of vp_credit_fifo, whatever its DEPTH: four places, the first of them at the output, and can_take may be
// low at any time. A unit that has at most three beats on their way here, as vp_token_drop with one or two beats a token,
// and sees of it can_take alone, hands over the same beats as to a larger FIFO that is emptied later. How many frames
// are inside at most is said of four places. That the real one keeps this contract proof_credit_fifo shows.
`default_nettype none

module vp_credit_fifo #(
    int unsigned WIDTH = 8,
    int unsigned DEPTH = 8,
    parameter    STYLE = "auto"
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic             take,
    output      logic             can_take,
    input  wire logic             push,
    input  wire logic [WIDTH-1:0] push_data,
    output      logic [WIDTH-1:0] out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    localparam int unsigned PLACES = 4;
    wire logic willing = 1'b1;  // anything, in the proof
    logic [PLACES-1:0] full_q, full;
    logic [PLACES-1:0][WIDTH-1:0] data_q, data;
    logic [2:0] taken_q;  // places, by beats that are here or will come
    wire logic give = out_valid && out_ready;
    wire logic [2:0] taken = taken_q + 3'(take) - 3'(give);
    always_comb begin
        {full, data} = {full_q, data_q};
        if (give) begin
            full = full_q >> 1;
            data = data_q >> WIDTH;
        end
        for (int unsigned i = 0; i < PLACES; i++) begin
            if (push && !full[i] && (i == 0 || full[i-1])) data[i] = push_data;
        end
        if (push) full = {full[PLACES-2:0], 1'b1};
    end
    always_ff @(posedge clk) begin
        data_q <= data;
        if (!rst_n) {full_q, taken_q, can_take} <= '0;
        else {full_q, taken_q, can_take} <= {full, taken, willing && taken < 3'(PLACES)};
    end
    assign {out_valid, out_data} = {full_q[0], data_q[0]};
endmodule

`default_nettype wire
