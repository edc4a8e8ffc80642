// End of a pipeline that never stands still. take says that a beat enters the pipeline, and is high only while
// can_take is; push hands over its result when the pipeline has it, in any number of cycles; out is a stream.
// DEPTH beats at most are in the pipeline or wait here, so no push is ever refused. can_take, valid and data are
// registered. A pipeline of N cycles from take to push runs at full throughput with a DEPTH of N + 3.
`default_nettype none

module vp_credit_fifo #(
    int unsigned WIDTH = 8,
    int unsigned DEPTH = 8,
    parameter    STYLE = "auto"
) (
    input  wire logic             clk, rst_n,
    input  wire logic             take,
    output      logic             can_take,
    input  wire logic             push,
    input  wire logic [WIDTH-1:0] push_data,
    output      logic [WIDTH-1:0] out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    if (WIDTH < 1 || DEPTH < 1) $error("vp_credit_fifo: WIDTH %0d and DEPTH %0d must be at least 1", WIDTH, DEPTH);
    localparam int unsigned COUNT_W = $clog2(DEPTH + 1);

    logic [COUNT_W-1:0] free_q;  // places that no beat has
    logic can_take_q, room;
    wire logic give = out_valid && out_ready;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            free_q     <= COUNT_W'(DEPTH);
            can_take_q <= 1'b0;
        end else if (take && !give) begin
            free_q     <= free_q - 1'b1;
            can_take_q <= free_q != COUNT_W'(1);
        end else if (give && !take) begin
            free_q     <= free_q + 1'b1;
            can_take_q <= 1'b1;
        end else begin
            can_take_q <= free_q != '0;
        end
    end
    assign can_take = can_take_q;

    // One more word than beats. In LUTRAM the contract is proved of DEPTH words, too (tests/formal, NO_FAULTS).
    vp_fifo #(.WIDTH(WIDTH), .DEPTH(DEPTH + 1), .STYLE(STYLE)) fifo (
        .clk, .rst_n, .in_data(push_data), .in_valid(push), .in_ready(room), .out_data, .out_valid, .out_ready
    );

`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && take && !can_take_q) $fatal(1, "vp_credit_fifo: a beat entered without a free place");
        if (rst_n && push && !room) $fatal(1, "vp_credit_fifo: a result found no place");
    end
`endif
endmodule

`default_nettype wire
