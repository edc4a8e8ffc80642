// vp_skid and vp_stage (STAGE): one stream through a register of two beats or of one.
`default_nettype none

module proof_skid #(
    int unsigned WIDTH = 2,
    bit          STAGE = 1'b0
) (
    input wire logic             clk,
    input wire logic             rst_n,
    input wire logic             pick,
    input wire logic [WIDTH-1:0] in_data,
    input wire logic             in_valid,
    input wire logic             out_ready
);
    logic in_ready, out_valid;
    logic [WIDTH-1:0] out_data;
    if (STAGE) begin : g_stage
        vp_stage #(.WIDTH(WIDTH)) dut (.*);
    end else begin : g_skid
        vp_skid #(.WIDTH(WIDTH)) dut (.*);
    end

    logic [2:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(2)) quiet (.clk, .rst_n, .pins({in_ready && !STAGE, out_valid}));
    proof_hold #(.WIDTH(WIDTH), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in_data), .valid(in_valid), .ready(in_ready)
    );
    proof_hold #(.WIDTH(WIDTH)) hold (.clk, .rst_n, .data(out_data), .valid(out_valid), .ready(out_ready));
    proof_order #(.WIDTH(WIDTH), .CAPACITY(STAGE ? 1 : 2)) order (
        .clk, .rst_n, .pick, .push(in_valid && in_ready), .push_data(in_data), .pop_valid(out_valid),
        .pop(out_valid && out_ready), .pop_data(out_data), .held
    );
    // A beat shows at once; while the sink takes, so does the block (but for the cycle after reset).
    proof_progress #(.LIMIT(0)) out (.clk, .rst_n, .want(held != '0), .done(out_valid));
    proof_progress #(.LIMIT(STAGE ? 0 : 1)) in (.clk, .rst_n, .want(in_valid && out_ready), .done(in_ready));
endmodule

`default_nettype wire
