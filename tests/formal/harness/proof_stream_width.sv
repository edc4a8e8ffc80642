// vp_stream_width where neither width divides the other: IN elements a beat to OUT, through words of COMMON.
`default_nettype none

module proof_stream_width #(
    int unsigned WIDTH  = 1,   // of an element
    int unsigned IN     = 3,
    int unsigned OUT    = 2,
    int unsigned COMMON = 6,
    int unsigned SHOWS  = 2,   // cycles until a word that is in is at the output
    int unsigned TAKES  = 2,   // cycles until a beat is taken while the sink takes
    localparam int unsigned PICK = $clog2(2 * IN)
) (
    input wire logic            clk,
    input wire logic            rst_n,
    input wire logic [PICK-1:0] pick,
    input wire logic [7:0]      in0_tdata,
    input wire logic            in0_tvalid,
    input wire logic            out0_tready
);
    logic in0_tready, out0_tvalid;
    logic [7:0] out0_tdata;
    vp_stream_width #(.IN_SIMD(IN), .OUT_SIMD(OUT), .COMMON(COMMON), .BITS(WIDTH)) dut (.*);

    localparam int unsigned CAPACITY = 2 * IN + 2 * COMMON;
    localparam int unsigned BITS = $clog2(CAPACITY + IN + (1 << PICK) + 1);
    logic [BITS-1:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(2)) quiet (.clk, .rst_n, .pins({in0_tready, out0_tvalid}));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(8)) hold (
        .clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready)
    );
    proof_order #(.WIDTH(WIDTH), .IN(IN), .OUT(OUT), .CAPACITY(CAPACITY)) order (
        .clk, .rst_n, .pick, .push(in0_tvalid && in0_tready), .push_data(in0_tdata[IN*WIDTH-1:0]),
        .pop_valid(out0_tvalid), .pop(out0_tvalid && out0_tready), .pop_data(out0_tdata[OUT*WIDTH-1:0]),
        .held
    );
    proof_progress #(.LIMIT(SHOWS)) out (.clk, .rst_n, .want(held >= BITS'(COMMON)), .done(out0_tvalid));
    proof_progress #(.LIMIT(TAKES)) in (.clk, .rst_n, .want(in0_tvalid && out0_tready), .done(in0_tready));
    always_comb if (rst_n) p_padding : assert (out0_tdata[7:OUT*WIDTH] == '0);
endmodule

`default_nettype wire
