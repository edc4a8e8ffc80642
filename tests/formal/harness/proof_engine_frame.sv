// vp_engine_frame behind vp_engine_tags, through which units that encoders share know whose frame comes: frame k is of the encoder that tag k says, of
// STEPS[e] steps, none where that is 0; value, count and last are those of its steps. Tags pass in their order, each once.
`default_nettype none

module proof_engine_frame #(
    int unsigned ENCODERS = 3,
    int unsigned FRAMES   = 2,
    parameter logic [ENCODERS*32-1:0] STEPS = {32'd0, 32'd1, 32'd3}  // of encoders 2, 1, 0
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [1:0] pick,
    input wire logic [7:0] tags_in_tdata,
    input wire logic       tags_in_tvalid,
    input wire logic       tags_out_tready,
    input wire logic       ask  // a step is taken where there is one
);
    localparam int unsigned TAG_W = $clog2(ENCODERS);
    function automatic logic [ENCODERS-1:0][3:0][31:0] shapes();
        for (int unsigned e = 0; e < ENCODERS; e++) begin
            shapes[e] = {32'(STEPS[e*32+:32] == 0), 32'(STEPS[e*32+:32] == 1), 32'(STEPS[e*32+:32] - 2), 32'(e + 1)};
        end
    endfunction
    wire logic [33:0] load_in = '0;
    logic [33:0] load_out;
    logic tags_in_tready, tags_out_tvalid, known, last;
    logic [7:0] tags_out_tdata;
    logic [31:0] value;
    logic [TAG_W-1:0] of;
    logic [1:0] count;
    wire logic step = ask && known;
    logic [TAG_W-1:0] next;
    logic next_valid, next_ready;
    vp_engine_tags #(.ENCODERS(ENCODERS), .FRAMES(FRAMES)) queue (.*, .encoder(next), .encoder_valid(next_valid), .next(next_ready));
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .COUNT_W(2), .SHAPES(shapes())
    ) dut (.*, .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready));

    // A frame is over with its last step; one without steps is when its tag is passed.
    wire logic [TAG_W-1:0] encoder = TAG_W'(value - 1'b1);
    wire logic [1:0] steps = STEPS[encoder*32+:2];
    wire logic skip = dut.frame_valid && dut.none;
    wire logic over = skip || (step && last);
    logic [1:0] count_q;
    always_ff @(posedge clk) begin
        if (!rst_n) count_q <= '0;
        else if (step) count_q <= count_q + 1'b1 == steps ? '0 : count_q + 1'b1;
    end
    proof_reset reset (.clk, .rst_n);
    proof_tags #(.ENCODERS(ENCODERS), .FRAMES(FRAMES)) tags (
        .clk, .rst_n, .pick, .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid, .tags_out_tready,
        .encoder, .known(known || skip), .over
    );
    proof_hold #(.WIDTH(5)) stays (.clk, .rst_n, .data({value[1:0], count, last}), .valid(known), .ready(step));
    always_comb begin
        if (rst_n) begin
            p_of : assert (!known || of == encoder);
            p_none : assert (!known || steps != '0);
            p_count : assert (!known || count == count_q);
            p_last : assert (!known || last == (count_q + 1'b1 == steps));
            c_none : cover (skip);
            c_again : cover (over && count_q != '0);
        end
    end
endmodule

`default_nettype wire
