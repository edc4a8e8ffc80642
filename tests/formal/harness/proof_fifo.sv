// vp_stream_fifo, and the vp_fifo in it. It holds exactly DEPTH beats (2 for a DEPTH of 1): more would break p_lose, fewer the
// progress of room.
`default_nettype none

module proof_fifo #(
    int unsigned WIDTH = 2,
    int unsigned DEPTH = 5,
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 2,
    int unsigned PARTS = 1,
    int unsigned SHOWS = 1,   // cycles until a beat is at the output
    int unsigned TAKES = 1,   // cycles until one is taken, if one leaves
    int unsigned ROOM  = 1    // cycles until one is taken, if there is room
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic       pick,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic       out0_tready
);
    logic in0_tready, out0_tvalid;
    logic [7:0] out0_tdata;
    vp_stream_fifo #(.WIDTH(WIDTH), .DEPTH(DEPTH), .STYLE(STYLE), .READ_LATENCY(READ_LATENCY), .PARTS(PARTS)) dut (.*);

    localparam int unsigned HOLDS = DEPTH > 1 ? DEPTH : 2;
    localparam int unsigned BITS = $clog2(HOLDS + 4);
    logic [BITS-1:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(2)) quiet (.clk, .rst_n, .pins({in0_tready, out0_tvalid}));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(8)) hold (
        .clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready)
    );
    proof_order #(.WIDTH(WIDTH), .CAPACITY(HOLDS)) order (
        .clk, .rst_n, .pick, .push(in0_tvalid && in0_tready), .push_data(in0_tdata[WIDTH-1:0]),
        .pop_valid(out0_tvalid), .pop(out0_tvalid && out0_tready), .pop_data(out0_tdata[WIDTH-1:0]), .held
    );
    proof_progress #(.LIMIT(SHOWS)) out (.clk, .rst_n, .want(held != '0), .done(out0_tvalid));
    proof_progress #(.LIMIT(TAKES)) in (.clk, .rst_n, .want(in0_tvalid && out0_tready), .done(in0_tready));
    proof_progress #(.LIMIT(ROOM)) room (
        .clk, .rst_n, .want(in0_tvalid && held < BITS'(HOLDS)), .done(in0_tready)
    );
    always_comb if (rst_n) p_padding : assert (out0_tdata[7:WIDTH] == '0);
endmodule

`default_nettype wire
