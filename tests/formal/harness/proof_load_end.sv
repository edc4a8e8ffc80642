// vp_load_end: one stream through a register of two beats, a pulse for each frame that left, the chain STAGES + 1 cycles later.
`default_nettype none

module proof_load_end #(
    int unsigned WIDTH  = 2,
    int unsigned BEATS  = 3,
    int unsigned STAGES = 1
) (
    input wire logic        clk,
    input wire logic        rst_n,
    input wire logic        pick,
    input wire logic [7:0]  in0_tdata,
    input wire logic        in0_tvalid,
    input wire logic        out0_tready,
    input wire logic [33:0] load_in
);
    logic in0_tready, out0_tvalid, frame_left;
    logic [7:0] out0_tdata;
    logic [33:0] load_out;
    vp_load_end #(.WIDTH(WIDTH), .BEATS(BEATS), .STAGES(STAGES)) dut (.*);

    logic [2:0] held;
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(2)) quiet (.clk, .rst_n, .pins({in0_tready, out0_tvalid}));
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready));
    proof_order #(.WIDTH(WIDTH), .CAPACITY(2)) order (
        .clk, .rst_n, .pick, .push(in0_tvalid && in0_tready), .push_data(in0_tdata[WIDTH-1:0]),
        .pop_valid(out0_tvalid), .pop(out0_tvalid && out0_tready), .pop_data(out0_tdata[WIDTH-1:0]), .held
    );
    proof_progress #(.LIMIT(1)) in (.clk, .rst_n, .want(in0_tvalid && out0_tready), .done(in0_tready));

    logic [7:0] beats_q;
    logic left_q, ran_q;
    logic [33:0] seen_q[STAGES+1];
    always_ff @(posedge clk) begin
        ran_q  <= rst_n;
        left_q <= 1'b0;
        if (!rst_n) beats_q <= '0;
        else if (out0_tvalid && out0_tready) begin
            beats_q <= beats_q == 8'(BEATS - 1) ? '0 : beats_q + 1'b1;
            left_q  <= beats_q == 8'(BEATS - 1);
        end
        for (int unsigned i = 0; i <= STAGES; i++) seen_q[i] <= rst_n ? (i == 0 ? load_in : seen_q[i-1]) : '0;
    end
    always_comb begin
        if (rst_n) begin
            p_left : assert (!ran_q || frame_left == left_q);
            p_back : assert (!ran_q || load_out == seen_q[STAGES]);
            p_padding : assert (out0_tdata[7:WIDTH] == '0);
            c_left : cover (frame_left);
            c_back : cover (&load_out[33:32]);
        end
    end
endmodule

`default_nettype wire
