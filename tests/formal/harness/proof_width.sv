// vp_width between IN and OUT elements a beat, one dividing the other, not equal.
`default_nettype none

module proof_width #(
    int unsigned WIDTH = 2,   // of an element
    int unsigned IN    = 1,
    int unsigned OUT   = 3,
    localparam int unsigned PICK = $clog2(2 * IN)
) (
    input wire logic                clk,
    input wire logic                rst_n,
    input wire logic [PICK-1:0]     pick,
    input wire logic [IN*WIDTH-1:0] in_data,
    input wire logic                in_valid,
    input wire logic                out_ready
);
    logic in_ready, out_valid;
    logic [OUT*WIDTH-1:0] out_data;
    vp_width #(.IN_ELEMS(IN), .OUT_ELEMS(OUT), .ELEM_WIDTH(WIDTH)) dut (.*);

    localparam int unsigned CAPACITY = IN > OUT ? IN : OUT;
    localparam int unsigned BITS = $clog2(CAPACITY + IN + (1 << PICK) + 1);
    logic [BITS-1:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(IN * WIDTH), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in_data), .valid(in_valid), .ready(in_ready)
    );
    proof_hold #(.WIDTH(OUT * WIDTH)) hold (
        .clk, .rst_n, .data(out_data), .valid(out_valid), .ready(out_ready)
    );
    proof_order #(.WIDTH(WIDTH), .IN(IN), .OUT(OUT), .CAPACITY(CAPACITY)) order (
        .clk, .rst_n, .pick, .push(in_valid && in_ready), .push_data(in_data), .pop_valid(out_valid),
        .pop(out_valid && out_ready), .pop_data(out_data), .held
    );
    // No cycle is lost on the narrower side.
    proof_progress #(.LIMIT(0)) out (.clk, .rst_n, .want(held >= BITS'(OUT)), .done(out_valid));
    proof_progress #(.LIMIT(IN > OUT ? IN / OUT - 1 : 0)) in (
        .clk, .rst_n, .want(in_valid && out_ready), .done(in_ready)
    );
endmodule

`default_nettype wire
