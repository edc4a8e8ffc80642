// vp_fork with NUM consumers: each sees every beat once, the one at the input at once.
`default_nettype none

module proof_fork #(
    int unsigned WIDTH = 2,
    int unsigned NUM   = 3
) (
    input wire logic             clk,
    input wire logic             rst_n,
    input wire logic [NUM-1:0]   pick,
    input wire logic [WIDTH-1:0] in_data,
    input wire logic             in_valid,
    input wire logic [NUM-1:0]   out_ready
);
    logic in_ready;
    logic [NUM-1:0] out_valid;
    logic [WIDTH-1:0] out_data;
    vp_fork #(.WIDTH(WIDTH), .NUM(NUM)) dut (.*);

    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(WIDTH), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in_data), .valid(in_valid), .ready(in_ready)
    );
    logic old_q;  // the beat at the input stood there before
    always_ff @(posedge clk) old_q <= rst_n && in_valid && !in_ready;
    for (genvar i = 0; i < NUM; i++) begin : g_out
        logic [2:0] held;
        wire logic push = in_valid && !old_q;
        proof_hold #(.WIDTH(WIDTH)) hold (
            .clk, .rst_n, .data(out_data), .valid(out_valid[i]), .ready(out_ready[i])
        );
        proof_order #(.WIDTH(WIDTH), .CAPACITY(1), .THROUGH(1'b1)) order (
            .clk, .rst_n, .pick(pick[i]), .push, .push_data(in_data), .pop_valid(out_valid[i]),
            .pop(out_valid[i] && out_ready[i]), .pop_data(out_data), .held
        );
        // Eager: a beat shows at every output that has not had it yet, whatever the others do.
        proof_progress #(.LIMIT(0)) out (
            .clk, .rst_n, .want(push || held != '0), .done(out_valid[i])
        );
    end
    proof_progress #(.LIMIT(0)) in (.clk, .rst_n, .want(in_valid && &out_ready), .done(in_ready));
endmodule

`default_nettype wire
