// What every proof asks of a stream: assertions (p_) and assumptions (a_) on the ports, and ghost registers that the
// block under proof does not have. All but proof_quiet look only at cycles out of reset. Covers (c_) must be reached, so that
// no assertion holds for want of a case.
`default_nettype none

// Reset: in the first cycle, whatever the registers hold, and then whenever it likes.
module proof_reset (
    input wire logic clk,
    input wire logic rst_n
);
    logic started_q = 1'b0;
    always_ff @(posedge clk) started_q <= 1'b1;
    always_comb if (!started_q) a_reset : assume (!rst_n);
endmodule

// Ready at inputs and valid at outputs are low in a reset from its second cycle on, so that no beat goes between a block that is in reset
// and a neighbour that is out of it.
module proof_quiet #(
    int unsigned PINS = 2
) (
    input wire logic            clk,
    input wire logic            rst_n,
    input wire logic [PINS-1:0] pins
);
    logic reset_q = 1'b0;
    always_ff @(posedge clk) reset_q <= !rst_n;
    always_comb begin
        if (reset_q && !rst_n) begin
            p_quiet : assert (pins == '0);
            c_reset : cover (1'b1);
        end
    end
endmodule

// A source (ASSUME) or a block's output: valid and data stay until ready.
module proof_hold #(
    int unsigned WIDTH  = 1,
    bit          ASSUME = 1'b0
) (
    input wire logic             clk,
    input wire logic             rst_n,
    input wire logic [WIDTH-1:0] data,
    input wire logic             valid,
    input wire logic             ready
);
    logic waits_q = 1'b0;
    logic [WIDTH-1:0] data_q;
    always_ff @(posedge clk) begin
        waits_q <= rst_n && valid && !ready;
        data_q  <= data;
    end
    if (ASSUME) begin : g_source
        always_comb if (rst_n && waits_q) a_hold : assume (valid && data == data_q);
    end else begin : g_output
        always_comb begin
            if (rst_n && waits_q) begin
                p_hold : assert (valid && data == data_q);
                c_waits : cover (ready);
            end
        end
    end
endmodule

// Elements go in IN a push and come out OUT a pop: in order, each once, none else. One element is followed, any:
// it is the one that goes in when ahead elements are still before it, and seen is its data. As long as it has not
// gone in, the choice is free (pick); ahead counts down with every pop. THROUGH: what goes in may come out
// in the same cycle.
module proof_order #(
    int unsigned WIDTH    = 2,
    int unsigned IN       = 1,
    int unsigned OUT      = 1,
    int unsigned CAPACITY = 2,     // elements that the block may hold
    bit          THROUGH  = 1'b0,
    localparam int unsigned PICK = $clog2(2 * IN),
    localparam int unsigned BITS = $clog2(CAPACITY + IN + (1 << PICK) + 1)
) (
    input  wire logic                 clk,
    input  wire logic                 rst_n,
    input  wire logic [PICK-1:0]      pick,
    input  wire logic                 push,
    input  wire logic [IN*WIDTH-1:0]  push_data,
    input  wire logic                 pop_valid,
    input  wire logic                 pop,
    input  wire logic [OUT*WIDTH-1:0] pop_data,
    output      logic [BITS-1:0]      held           // elements that went in and did not come out
);
    logic [BITS-1:0] ahead_q, held_q;
    logic [WIDTH-1:0] seen, seen_q;
    wire logic [BITS-1:0] inside_now = held_q + (push ? BITS'(IN) : '0);
    wire logic [BITS-1:0] held_next = inside_now - (pop ? BITS'(OUT) : '0);
    wire logic followed = ahead_q < inside_now;
    always_ff @(posedge clk) begin
        held_q <= rst_n ? held_next : '0;
        if (rst_n && followed && !(pop && ahead_q < BITS'(OUT))) ahead_q <= ahead_q - (pop ? BITS'(OUT) : '0);
        else ahead_q <= (rst_n ? held_next : '0) + BITS'(pick);
        seen_q <= seen;
    end
    always_comb begin
        seen = seen_q;
        for (int unsigned i = 0; i < IN; i++) begin
            if (push && ahead_q == held_q + BITS'(i)) seen = push_data[i*WIDTH+:WIDTH];
        end
    end
    assign held = held_q;
    wire logic [BITS-1:0] available = THROUGH ? inside_now : held_q;
    always_comb begin
        if (rst_n) begin
            p_invent : assert (!pop_valid || available >= BITS'(OUT));
            p_lose : assert (held_next <= BITS'(CAPACITY));
            c_full : cover ((THROUGH ? inside_now : held_next) == BITS'(CAPACITY));
            c_both : cover (push && pop);
        end
    end
    for (genvar i = 0; i < OUT; i++) begin : g_element
        always_comb begin
            if (rst_n && pop_valid && ahead_q == BITS'(i) && ahead_q < available) begin
                p_data : assert (pop_data[i*WIDTH+:WIDTH] == seen);
                c_data : cover (pop);
            end
        end
    end
endmodule

// Whenever want stays, done comes within LIMIT cycles, and not always sooner (TIGHT).
module proof_progress #(
    int unsigned LIMIT = 3,
    bit          TIGHT = 1'b1
) (
    input wire logic clk,
    input wire logic rst_n,
    input wire logic want,
    input wire logic done
);
    localparam int unsigned CW = $clog2(LIMIT + 2);
    logic [CW-1:0] count_q;
    wire logic [CW-1:0] count = rst_n && want && !done ? count_q + 1'b1 : '0;
    always_ff @(posedge clk) count_q <= count;
    always_comb begin
        if (rst_n) begin
            p_progress : assert (count <= CW'(LIMIT));
            c_progress : cover (want && done && (TIGHT ? count_q == CW'(LIMIT) : count_q != '0));
        end
    end
endmodule

`default_nettype wire
