// vp_select_token: of every TOKENS tokens of BEATS beats only token INDEX comes out; the others do not wait for
// the output.
`default_nettype none

module proof_select_token #(
    int unsigned WIDTH  = 2,
    int unsigned TOKENS = 3,
    int unsigned BEATS  = 2,
    int unsigned INDEX  = 1
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
    wire logic [33:0] load_in = '0;
    logic [33:0] load_out;
    localparam logic [2:0][31:0] SHAPES = {32'(TOKENS * BEATS - 1), 32'(INDEX * BEATS), 32'((INDEX + 1) * BEATS - 1)};
    vp_select_token #(
        .WIDTH(WIDTH), .BEAT_W($clog2(TOKENS * BEATS)), .SHAPES(SHAPES)
    ) dut (
        .*, .encoder(1'b0), .encoder_valid(1'b1), .encoder_ready()
    );

    localparam int unsigned CW = $clog2(TOKENS * BEATS + 1);
    logic [CW-1:0] beat_q;  // of the frame, at the input
    wire logic take = in0_tvalid && in0_tready;
    wire logic chosen = beat_q >= CW'(INDEX * BEATS) && beat_q < CW'((INDEX + 1) * BEATS);
    always_ff @(posedge clk) begin
        if (!rst_n) beat_q <= '0;
        else if (take) beat_q <= beat_q == CW'(TOKENS * BEATS - 1) ? '0 : beat_q + 1'b1;
    end

    logic [2:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(2)) quiet (.clk, .rst_n, .pins({in0_tready, out0_tvalid}));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(8)) hold (
        .clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready)
    );
    proof_order #(.WIDTH(WIDTH), .CAPACITY(3)) order (
        .clk, .rst_n, .pick, .push(take && chosen), .push_data(in0_tdata[WIDTH-1:0]), .pop_valid(out0_tvalid),
        .pop(out0_tvalid && out0_tready), .pop_data(out0_tdata[WIDTH-1:0]), .held
    );
    proof_progress #(.LIMIT(1)) out (.clk, .rst_n, .want(held != '0), .done(out0_tvalid));
    proof_progress #(.LIMIT(1)) in (.clk, .rst_n, .want(in0_tvalid && out0_tready), .done(in0_tready));
    // Where at most one chosen beat is inside (it waits at the output), the next ones are not held up by it.
    proof_progress #(.LIMIT(1)) pass (
        .clk, .rst_n, .want(in0_tvalid && !chosen && held <= 1), .done(in0_tready)
    );
    always_comb if (rst_n) p_padding : assert (out0_tdata[7:WIDTH] == '0);
endmodule

`default_nettype wire
