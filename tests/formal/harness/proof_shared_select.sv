// vp_select_token of two encoders, behind vp_engine_tags: of a frame of FRAME[e] beats those from FIRST[e] to LAST[e] come out, e the encoder that the
// frame's tag tells; the others do not wait for the output.
`default_nettype none

module proof_shared_select #(
    int unsigned WIDTH  = 1,
    int unsigned FRAMES = 2,
    parameter logic [63:0] FRAME = {32'd2, 32'd4}, FIRST = {32'd0, 32'd1}, LAST = {32'd0, 32'd2}
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [3:0] pick,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic       out0_tready,
    input wire logic [7:0] tags_in_tdata,
    input wire logic       tags_in_tvalid,
    input wire logic       tags_out_tready
);
    logic in0_tready, out0_tvalid, tags_in_tready, tags_out_tvalid;
    logic [7:0] out0_tdata, tags_out_tdata;
    wire logic [33:0] load_in = '0;
    logic [33:0] load_out;
    function automatic logic [1:0][2:0][31:0] shapes();
        for (int unsigned e = 0; e < 2; e++) shapes[e] = {32'(FRAME[e*32+:32] - 1), FIRST[e*32+:32], LAST[e*32+:32]};
    endfunction
    logic next, next_valid, next_ready;
    vp_engine_tags #(.ENCODERS(2), .FRAMES(FRAMES)) queue (.*, .encoder(next), .encoder_valid(next_valid), .next(next_ready));
    vp_select_token #(
        .WIDTH(WIDTH), .ENCODERS(2), .BEAT_W(2), .SHAPES(shapes())
    ) dut (.*, .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready));

    // Behind the input register, where beats meet their tags: frames of the encoders differ in length.
    wire logic encoder = dut.shape.last[1:0] == 2'(FRAME[63:32] - 1);
    wire logic take = dut.take;
    logic [1:0] beat_q;
    wire logic frame_end = take && beat_q == 2'(FRAME[encoder*32+:32] - 1);
    wire logic chosen = beat_q >= FIRST[encoder*32+:2] && beat_q <= LAST[encoder*32+:2];
    always_ff @(posedge clk) begin
        if (!rst_n) beat_q <= '0;
        else if (take) beat_q <= frame_end ? '0 : beat_q + 1'b1;
    end

    logic [2:0] waiting, held;
    proof_reset reset (.clk, .rst_n);
    proof_tags #(.AHEAD(1'b0), .FRAMES(FRAMES)) tags (
        .clk, .rst_n, .pick(pick[3:2]), .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid,
        .tags_out_tready, .encoder, .known(dut.known), .over(frame_end)
    );
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (.clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready));
    proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready));
    proof_order #(.WIDTH(WIDTH), .CAPACITY(2)) taken (
        .clk, .rst_n, .pick(pick[1]), .push(in0_tvalid && in0_tready), .push_data(in0_tdata[WIDTH-1:0]), .pop_valid(dut.x_valid),
        .pop(take), .pop_data(dut.x), .held(waiting)
    );
    proof_order #(.WIDTH(WIDTH), .CAPACITY(1)) passed (
        .clk, .rst_n, .pick(pick[0]), .push(take && chosen), .push_data(dut.x), .pop_valid(out0_tvalid),
        .pop(out0_tvalid && out0_tready), .pop_data(out0_tdata[WIDTH-1:0]), .held
    );
    proof_progress #(.LIMIT(0)) out (.clk, .rst_n, .want(held != '0), .done(out0_tvalid));
    proof_progress #(.LIMIT(1)) in (.clk, .rst_n, .want(in0_tvalid && out0_tready && dut.known), .done(in0_tready));
    // Beats that are not chosen do not wait for the output.
    proof_progress #(.LIMIT(0)) pass (.clk, .rst_n, .want(waiting != '0 && !chosen && dut.known), .done(take));
    always_comb if (rst_n) p_padding : assert (out0_tdata[7:WIDTH] == '0);
endmodule

`default_nettype wire
