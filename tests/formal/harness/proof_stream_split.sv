// vp_stream_split: of every TOKEN beats the first FIRST come out at output 0, the others at output 1. Of the tokens after the first
// BOTH of every TOKENS, output 0 has none, and they do not wait for it.
`default_nettype none

module proof_stream_split #(
    int unsigned WIDTH  = 2,
    int unsigned TOKEN  = 5,
    int unsigned FIRST  = 2,
    int unsigned TOKENS = 1,
    int unsigned BOTH   = TOKENS
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [1:0] pick,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic       out0_tready,
    input wire logic       out1_tready
);
    localparam int unsigned CW = $clog2(TOKEN);
    localparam int unsigned TW = TOKENS > 1 ? $clog2(TOKENS) : 1;
    logic in0_tready, out0_tvalid, out1_tvalid;
    logic [7:0] out0_tdata, out1_tdata;
    wire logic [33:0] load_in = '0;
    logic [33:0] load_out;
    localparam logic [6:0][31:0] SHAPES = {
        32'd0, 32'(TOKENS == 1), 32'(TOKENS - 2), 32'(FIRST - 1), 32'(TOKEN - 2), 32'(BOTH == TOKENS), 32'(BOTH - 1)
    };
    vp_stream_split #(
        .WIDTH(WIDTH), .BEAT_W(CW), .TOKEN_W(TW), .SHAPES(SHAPES)
    ) dut (
        .*, .encoder(1'b0), .encoder_valid(1'b1), .encoder_ready()
    );

    logic [CW-1:0] beat_q;   // of the token, at the input
    logic [TW-1:0] token_q;  // of the frame
    wire logic take = in0_tvalid && in0_tready;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q  <= '0;
            token_q <= '0;
        end else if (take) begin
            beat_q <= beat_q == CW'(TOKEN - 1) ? '0 : beat_q + 1'b1;
            if (beat_q == CW'(TOKEN - 1)) token_q <= token_q == TW'(TOKENS - 1) ? '0 : token_q + 1'b1;
        end
    end
    wire logic first = beat_q < CW'(FIRST);
    wire logic dropped = first && 32'(token_q) >= BOTH;

    wire logic [1:0] valid = {out1_tvalid, out0_tvalid};
    wire logic [1:0] ready = {out1_tready, out0_tready};
    wire logic [15:0] data = {out1_tdata, out0_tdata};
    logic [1:0][2:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(3)) quiet (.clk, .rst_n, .pins({in0_tready, out0_tvalid, out1_tvalid}));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    for (genvar i = 0; i < 2; i++) begin : g_out
        proof_hold #(.WIDTH(8)) hold (
            .clk, .rst_n, .data(data[8*i+:8]), .valid(valid[i]), .ready(ready[i])
        );
        proof_order #(.WIDTH(WIDTH), .CAPACITY(3)) order (
            .clk, .rst_n, .pick(pick[i]), .push(take && (i == 0 ? first && !dropped : !first)),
            .push_data(in0_tdata[WIDTH-1:0]), .pop_valid(valid[i]), .pop(valid[i] && ready[i]),
            .pop_data(data[8*i+:WIDTH]), .held(held[i])
        );
        proof_progress #(.LIMIT(2)) out (.clk, .rst_n, .want(held[i] != '0 && &ready), .done(valid[i]));
        always_comb if (rst_n) p_padding : assert (data[8*i+WIDTH+:8-WIDTH] == '0);
    end
    proof_progress #(.LIMIT(1)) in (.clk, .rst_n, .want(in0_tvalid && &ready), .done(in0_tready));
    if (BOTH < TOKENS) begin : g_dropped
        // Where one beat for output 0 is inside at most, it waits there.
        proof_progress #(.LIMIT(1)) pass (
            .clk, .rst_n, .want(in0_tvalid && dropped && held[0] <= 1 && out1_tready), .done(in0_tready)
        );
    end
endmodule

`default_nettype wire
