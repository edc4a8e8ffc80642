// vp_engine_switch, or vp_engine_merge (MERGE), of three encoders, behind vp_engine_tags: a frame of BEATS[e] beats passes on branch e, e the encoder
// that its tag tells. Encoder 2 has no frame.
`default_nettype none

module proof_branches #(
    bit          MERGE  = 1'b0,
    int unsigned FRAMES = 2,
    parameter logic [95:0] BEATS = {32'd0, 32'd1, 32'd2}
) (
    input wire logic            clk,
    input wire logic            rst_n,
    input wire logic [3:0]      pick,
    input wire logic [1:0][7:0] in_tdata,
    input wire logic [1:0]      in_tvalid,
    input wire logic [1:0]      out_tready,
    input wire logic [7:0]      tags_in_tdata,
    input wire logic            tags_in_tvalid,
    input wire logic            tags_out_tready
);
    localparam int unsigned WIDTH = 1;
    localparam int unsigned INS = MERGE ? 2 : 1;
    localparam int unsigned OUTS = MERGE ? 1 : 2;
    logic [1:0] in_tready, out_tvalid, branch;
    logic [1:0][7:0] out_tdata;
    logic tags_in_tready, tags_out_tvalid, known, none;
    logic [7:0] tags_out_tdata;
    // Behind the input registers, where beats meet their tags.
    logic [INS-1:0] x_valid;
    logic [INS-1:0][WIDTH-1:0] x;
    logic take;
    wire logic [33:0] load_in = '0;
    logic [33:0] load_out;
    function automatic logic [3-1:0][3:0][31:0] shapes();
        for (int unsigned e = 0; e < 3; e++) begin
            shapes[e] = {32'(BEATS[e*32+:32] == 0), 32'(BEATS[e*32+:32] == 1), 32'(BEATS[e*32+:32] - 2), 32'(e == 1 ? 2 : 1)};
        end
    endfunction
    logic [1:0] next;
    logic next_valid, next_ready;
    vp_engine_tags #(.ENCODERS(3), .FRAMES(FRAMES)) queue (.*, .encoder(next), .encoder_valid(next_valid), .next(next_ready));
    if (MERGE) begin : g_merge
        vp_engine_merge #(
            .WIDTH(WIDTH), .ENCODERS(3), .COUNT_W(1), .SHAPES(shapes())
        ) dut (.*, .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready), .out0_tdata(out_tdata[0]), .out0_tvalid(out_tvalid[0]), .out0_tready(out_tready[0]));
        assign out_tvalid[1] = 1'b0;
        assign out_tdata[1]  = '0;
        assign x_valid = dut.valid;
        assign x       = dut.data;
        assign take    = dut.chosen_valid && dut.room;
        assign {branch, known, none} = {dut.branch, dut.known, dut.frame.frame_valid && dut.frame.none};
    end else begin : g_switch
        vp_engine_switch #(
            .WIDTH(WIDTH), .ENCODERS(3), .COUNT_W(1), .SHAPES(shapes())
        ) dut (.*, .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready), .in0_tdata(in_tdata[0]), .in0_tvalid(in_tvalid[0]), .in0_tready(in_tready[0]));
        assign in_tready[1] = 1'b0;
        assign x_valid = dut.x_valid;
        assign x       = dut.x;
        assign take    = dut.take;
        assign {branch, known, none} = {dut.branch, dut.known, dut.frame.frame_valid && dut.frame.none};
    end

    wire logic [1:0] encoder = none ? 2'd2 : {1'b0, branch[1]};
    wire logic way = branch[1];
    logic [1:0] beat_q;
    wire logic frame_end = take && beat_q == 2'(BEATS[encoder*32+:32] - 1);
    always_ff @(posedge clk) begin
        if (!rst_n) beat_q <= '0;
        else if (take) beat_q <= frame_end ? '0 : beat_q + 1'b1;
    end
    proof_reset reset (.clk, .rst_n);
    proof_tags #(.ENCODERS(3), .FRAMES(FRAMES)) tags (
        .clk, .rst_n, .pick(pick[3:2]), .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid,
        .tags_out_tready, .encoder, .known(known || none), .over(none || frame_end)
    );
    logic [INS-1:0][2:0] waiting;
    for (genvar i = 0; i < INS; i++) begin : g_in
        proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
            .clk, .rst_n, .data(in_tdata[i]), .valid(in_tvalid[i]), .ready(in_tready[i])
        );
        proof_order #(.WIDTH(WIDTH), .CAPACITY(2)) taken (
            .clk, .rst_n, .pick(pick[1]), .push(in_tvalid[i] && in_tready[i]), .push_data(in_tdata[i][WIDTH-1:0]),
            .pop_valid(x_valid[i]), .pop(take && (i == 32'(way) || !MERGE)), .pop_data(x[i]), .held(waiting[i])
        );
        wire logic mine = known && (i == 32'(way) || !MERGE);
        proof_progress #(.LIMIT(1)) in (.clk, .rst_n, .want(in_tvalid[i] && mine && &out_tready), .done(in_tready[i]));
    end
    for (genvar i = 0; i < OUTS; i++) begin : g_out
        logic [2:0] held;
        proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out_tdata[i]), .valid(out_tvalid[i]), .ready(out_tready[i]));
        proof_order #(.WIDTH(WIDTH), .CAPACITY(1)) passed (
            .clk, .rst_n, .pick(pick[0]), .push(take && (i == 32'(way) || MERGE)), .push_data(x[MERGE ? way : 0]),
            .pop_valid(out_tvalid[i]), .pop(out_tvalid[i] && out_tready[i]), .pop_data(out_tdata[i][WIDTH-1:0]), .held
        );
        proof_progress #(.LIMIT(0)) out (.clk, .rst_n, .want(held != '0), .done(out_tvalid[i]));
        always_comb if (rst_n) p_padding : assert (out_tdata[i][7:WIDTH] == '0);
    end
    // A stalled branch holds up its own frames alone.
    proof_progress #(.LIMIT(0)) pass (
        .clk, .rst_n, .want(known && waiting[MERGE ? way : 0] != '0 && out_tready[MERGE ? 0 : way]), .done(take)
    );
endmodule

`default_nettype wire
