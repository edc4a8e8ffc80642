// Restoring divider: quot = floor(num / den), most significant bit first, a bit a cycle in each of STAGES stages that follow
// one another, so that no cycle subtracts twice. A stage has ceil(QUOT_WIDTH / STAGES) steps; a division can start
// every steps + 1 cycles and takes STAGES times as many. Its result is there for one cycle (out_valid): it never waits.
// The quotient must fit: num < den * 2^QUOT_WIDTH (so den is not 0).
`default_nettype none

module vp_divide #(
    int unsigned NUM_WIDTH  = 33,
    int unsigned DEN_WIDTH  = 16,
    int unsigned QUOT_WIDTH = 25,
    int unsigned STAGES     = 1
) (
    input  wire logic                  clk, rst_n,
    input  wire logic [NUM_WIDTH-1:0]  num,
    input  wire logic [DEN_WIDTH-1:0]  den,
    input  wire logic                  in_valid,
    output      logic                  in_ready,
    output      logic [QUOT_WIDTH-1:0] quot,
    output      logic                  out_valid
);
    if (STAGES < 1 || QUOT_WIDTH < 1 || DEN_WIDTH < 1)
        $error("vp_divide: STAGES %0d, QUOT_WIDTH %0d and DEN_WIDTH %0d must be at least 1", STAGES, QUOT_WIDTH, DEN_WIDTH);
    if (NUM_WIDTH > DEN_WIDTH + QUOT_WIDTH)
        $error("vp_divide: NUM_WIDTH %0d exceeds DEN_WIDTH + QUOT_WIDTH = %0d", NUM_WIDTH, DEN_WIDTH + QUOT_WIDTH);

    localparam int unsigned STEPS = (QUOT_WIDTH + STAGES - 1) / STAGES;
    localparam int unsigned SPAN = STEPS * STAGES;

    // low: numerator bits to come above, quotient bits so far below
    typedef struct packed {logic [DEN_WIDTH-1:0] den, rem; logic [SPAN-1:0] low;} state_t;
    wire logic [DEN_WIDTH+SPAN-1:0] wide = (DEN_WIDTH + SPAN)'(num);

    for (genvar i = 0; i < STAGES; i++) begin : g_stage
        state_t state_q, first;
        logic first_valid, busy_q, done_q, ready_q, last_step;
        wire logic [DEN_WIDTH:0] trial = {state_q.rem, state_q.low[SPAN-1]};
        wire logic [DEN_WIDTH+1:0] diff = {1'b0, trial} - {2'b0, state_q.den};
        wire logic fits = !diff[DEN_WIDTH+1];
        if (i == 0) begin : g_first
            assign first       = {den, wide};
            assign first_valid = in_valid;
        end else begin : g_next
            assign first       = g_stage[i-1].state_q;
            assign first_valid = g_stage[i-1].done_q;
        end
        vp_counter #(.COUNT(STEPS)) steps (.clk, .rst_n, .step(busy_q), .count(), .last(last_step));
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                busy_q  <= 1'b0;
                ready_q <= 1'b1;
                done_q  <= 1'b0;
            end else begin
                busy_q  <= ready_q ? first_valid : !last_step;
                ready_q <= ready_q ? !first_valid : last_step;
                done_q  <= busy_q && last_step;
            end
            if (ready_q) state_q <= first;
            else begin
                state_q.rem <= fits ? diff[DEN_WIDTH-1:0] : trial[DEN_WIDTH-1:0];
                state_q.low <= SPAN'({state_q.low, fits});
            end
        end
    end
    assign in_ready  = g_stage[0].ready_q;
    assign quot      = g_stage[STAGES-1].state_q.low[QUOT_WIDTH-1:0];
    assign out_valid = g_stage[STAGES-1].done_q;
endmodule

`default_nettype wire
