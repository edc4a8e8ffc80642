// vp_stream_split of two encoders, behind vp_engine_tags: of every token of TOKEN[e] beats the first FIRST[e] come out at output 0, the others at
// output 1, e the encoder that the tag of the frame, of TOKENS[e] tokens, tells. Of the tokens after the first BOTH[e] output 0
// has none.
`default_nettype none

module proof_shared_split #(
    int unsigned WIDTH  = 1,
    int unsigned FRAMES = 2,
    parameter logic [63:0] TOKENS = {32'd1, 32'd2}, BOTH = {32'd1, 32'd1}, TOKEN = {32'd3, 32'd2}, FIRST = {32'd2, 32'd1}
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [4:0] pick,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic [1:0] out_ready,
    input wire logic [7:0] tags_in_tdata,
    input wire logic       tags_in_tvalid,
    input wire logic       tags_out_tready
);
    logic in0_tready, tags_in_tready, tags_out_tvalid;
    logic [1:0] out_valid;
    logic [1:0][7:0] y;
    logic [7:0] tags_out_tdata;
    wire logic [33:0] load_in = '0;
    logic [33:0] load_out;
    function automatic logic [1:0][6:0][31:0] shapes();
        for (int unsigned e = 0; e < 2; e++) begin
            shapes[e] = {
                32'(TOKENS[e*32+:32] == 0), 32'(TOKENS[e*32+:32] == 1), 32'(TOKENS[e*32+:32] - 2), 32'(FIRST[e*32+:32] - 1),
                32'(TOKEN[e*32+:32] - 2), 32'(BOTH[e*32+:32] == TOKENS[e*32+:32]), 32'(BOTH[e*32+:32] - 1)
            };
        end
    endfunction
    logic next, next_valid, next_ready;
    vp_engine_tags #(.ENCODERS(2), .FRAMES(FRAMES)) queue (.*, .encoder(next), .encoder_valid(next_valid), .next(next_ready));
    vp_stream_split #(
        .WIDTH(WIDTH), .ENCODERS(2), .BEAT_W(2), .TOKEN_W(1), .SHAPES(shapes())
    ) dut (
        .*, .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready), .out0_tdata(y[0]), .out0_tvalid(out_valid[0]), .out0_tready(out_ready[0]),
        .out1_tdata(y[1]), .out1_tvalid(out_valid[1]), .out1_tready(out_ready[1])
    );

    // Behind the input register, where beats meet their tags: tokens of the encoders differ in length.
    wire logic encoder = dut.shape.before_last[1:0] == 2'(TOKEN[63:32] - 2);
    wire logic take = dut.take;
    logic [1:0] beat_q;
    logic [1:0] token_q;
    wire logic token_end = take && beat_q == 2'(TOKEN[encoder*32+:32] - 1);
    wire logic frame_end = token_end && token_q == 2'(TOKENS[encoder*32+:32] - 1);
    wire logic second = beat_q >= FIRST[encoder*32+:2];
    wire logic dropped = !second && token_q >= BOTH[encoder*32+:2];
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q  <= '0;
            token_q <= '0;
        end else if (take) begin
            beat_q <= token_end ? '0 : beat_q + 1'b1;
            if (token_end) token_q <= frame_end ? '0 : token_q + 1'b1;
        end
    end

    logic [2:0] waiting;
    logic [1:0][2:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_tags #(.FRAMES(FRAMES)) tags (
        .clk, .rst_n, .pick(pick[4:3]), .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid,
        .tags_out_tready, .encoder, .known(dut.known), .over(frame_end)
    );
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (.clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready));
    proof_order #(.WIDTH(WIDTH), .CAPACITY(2)) taken (
        .clk, .rst_n, .pick(pick[2]), .push(in0_tvalid && in0_tready), .push_data(in0_tdata[WIDTH-1:0]), .pop_valid(dut.x_valid),
        .pop(take), .pop_data(dut.x), .held(waiting)
    );
    for (genvar i = 0; i < 2; i++) begin : g_out
        proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(y[i]), .valid(out_valid[i]), .ready(out_ready[i]));
        proof_order #(.WIDTH(WIDTH), .CAPACITY(1)) passed (
            .clk, .rst_n, .pick(pick[i]), .push(take && (i == 0 ? !second && !dropped : second)), .push_data(dut.x),
            .pop_valid(out_valid[i]), .pop(out_valid[i] && out_ready[i]), .pop_data(y[i][WIDTH-1:0]), .held(held[i])
        );
        proof_progress #(.LIMIT(0)) out (.clk, .rst_n, .want(held[i] != '0), .done(out_valid[i]));
        always_comb if (rst_n) p_padding : assert (y[i][7:WIDTH] == '0);
    end
    proof_progress #(.LIMIT(1)) in (.clk, .rst_n, .want(in0_tvalid && &out_ready && dut.known), .done(in0_tready));
    // What is dropped does not wait for the outputs.
    proof_progress #(.LIMIT(0)) pass (.clk, .rst_n, .want(waiting != '0 && dropped && dut.known), .done(take));
endmodule

`default_nettype wire
