// vp_credit_fifo behind a pipeline of any number of cycles, one or more, that keeps order: results come as they like. With PIPE
// it is one of PIPE cycles, and what can enter does: can_take stays high while out0_tready does.
`default_nettype none

module proof_credit_fifo #(
    int unsigned WIDTH = 2,
    int unsigned DEPTH = 5,
    int unsigned PIPE  = 0
) (
    input wire logic             clk,
    input wire logic             rst_n,
    input wire logic             pick,
    input wire logic             enter,
    input wire logic             result,
    input wire logic [WIDTH-1:0] data,
    input wire logic             out0_tready
);
    localparam int unsigned BITS = $clog2(DEPTH + 4);
    logic can_take, out0_tvalid;
    logic [WIDTH-1:0] out0_tdata;
    logic [BITS-1:0] held, under_q;  // waiting, in the pipeline
    logic [PIPE:0] pipe_q;
    wire logic take = can_take && (PIPE != 0 || enter);
    wire logic push = PIPE != 0 ? pipe_q[PIPE > 0 ? PIPE - 1 : 0] : result && under_q != '0;
    wire logic ready = PIPE != 0 || out0_tready;
    always_ff @(posedge clk) begin
        under_q <= rst_n ? under_q + BITS'(take) - BITS'(push) : '0;
        pipe_q  <= rst_n ? {pipe_q[PIPE > 0 ? PIPE - 1 : 0:0], take} : '0;
    end

    vp_credit_fifo #(.WIDTH(WIDTH), .DEPTH(DEPTH)) dut (
        .clk, .rst_n, .take, .can_take, .push, .push_data(data),
        .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(ready)
    );

    proof_reset reset (.clk, .rst_n);
    proof_order #(.WIDTH(WIDTH), .CAPACITY(DEPTH)) order (
        .clk, .rst_n, .pick, .push, .push_data(data),
        .pop_valid(out0_tvalid), .pop(out0_tvalid && ready), .pop_data(out0_tdata), .held
    );
    proof_progress #(.LIMIT(1)) out (.clk, .rst_n, .want(held != '0), .done(out0_tvalid));
    if (PIPE == 0) begin : g_any
        proof_hold #(.WIDTH(WIDTH)) hold (.clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready);
        proof_progress #(.LIMIT(1)) room (.clk, .rst_n, .want(held + under_q < BITS'(DEPTH)), .done(can_take));
        always_comb if (rst_n) p_places : assert (held + under_q <= BITS'(DEPTH));
    end else begin : g_steady
        logic [1:0] age_q;
        always_ff @(posedge clk) age_q <= rst_n ? {age_q[0], 1'b1} : '0;
        always_comb if (rst_n && age_q[1]) p_steady : assert (can_take);
    end
endmodule

`default_nettype wire
