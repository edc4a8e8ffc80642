// Sequential restoring divider: quot = floor(num / den), BITS quotient bits a cycle, most significant first.
// A division takes ceil(QUOT_WIDTH / BITS) + 1 cycles; the next one starts in the cycle in which its
// result is taken. The quotient must fit: num < den * 2^QUOT_WIDTH (so den is not 0).
`default_nettype none

module vp_divide #(
    int unsigned NUM_WIDTH  = 33,
    int unsigned DEN_WIDTH  = 16,
    int unsigned QUOT_WIDTH = 25,
    int unsigned BITS       = 1
) (
    input  wire logic                  clk,
    input  wire logic                  rst_n,
    input  wire logic [NUM_WIDTH-1:0]  num,
    input  wire logic [DEN_WIDTH-1:0]  den,
    input  wire logic                  in_valid,
    output      logic                  in_ready,
    output      logic [QUOT_WIDTH-1:0] quot,
    output      logic                  out_valid,
    input  wire logic                  out_ready
);
    if (BITS < 1 || QUOT_WIDTH < 1 || DEN_WIDTH < 1) begin : g_check
        $error("vp_divide: BITS %0d, QUOT_WIDTH %0d and DEN_WIDTH %0d must be at least 1",
               BITS, QUOT_WIDTH, DEN_WIDTH);
    end
    if (NUM_WIDTH > DEN_WIDTH + QUOT_WIDTH) begin : g_check_fit
        $error("vp_divide: NUM_WIDTH %0d exceeds DEN_WIDTH + QUOT_WIDTH = %0d",
               NUM_WIDTH, DEN_WIDTH + QUOT_WIDTH);
    end

    localparam int unsigned STEPS = (QUOT_WIDTH + BITS - 1) / BITS;
    localparam int unsigned SPAN = STEPS * BITS;
    localparam int unsigned STEP_W = $clog2(STEPS + 1);

    logic [STEP_W-1:0] left_q;  // steps to go
    logic busy_q;
    logic [DEN_WIDTH-1:0] den_q, rem_q, rem_d;
    logic [SPAN-1:0] low_q, low_d;  // numerator bits to come above, quotient bits so far below
    wire logic [DEN_WIDTH+SPAN-1:0] wide = (DEN_WIDTH + SPAN)'(num);

    always_comb begin
        rem_d = rem_q;
        low_d = low_q;
        for (int unsigned i = 0; i < BITS; i++) begin
            logic [DEN_WIDTH:0] trial;
            logic [DEN_WIDTH+1:0] diff;
            trial = {rem_d, low_d[SPAN-1]};
            diff  = {1'b0, trial} - {2'b0, den_q};
            rem_d = diff[DEN_WIDTH+1] ? trial[DEN_WIDTH-1:0] : diff[DEN_WIDTH-1:0];
            low_d = SPAN'({low_d, !diff[DEN_WIDTH+1]});
        end
    end

    assign out_valid = busy_q && left_q == '0;
    assign in_ready  = !busy_q || (out_valid && out_ready);
    assign quot      = low_q[QUOT_WIDTH-1:0];

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            busy_q <= 1'b0;
            left_q <= '0;
        end else if (in_ready) begin
            busy_q <= in_valid;
            left_q <= STEP_W'(STEPS);
        end else if (left_q != '0) begin
            left_q <= left_q - 1'b1;
        end
        if (in_ready) begin
            den_q <= den;
            {rem_q, low_q} <= wide;
        end else if (left_q != '0) begin
            rem_q <= rem_d;
            low_q <= low_d;
        end
    end
endmodule

`default_nettype wire
