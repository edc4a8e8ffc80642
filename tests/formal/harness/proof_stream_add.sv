// vp_stream_add: beat i of the output is the saturated sum of beats i of both inputs.
`default_nettype none

module proof_stream_add #(
    int unsigned WIDTH = 2
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic       pick,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic [7:0] in1_tdata,
    input wire logic       in1_tvalid,
    input wire logic       out0_tready
);
    logic in0_tready, in1_tready, out0_tvalid;
    logic [7:0] out0_tdata;
    vp_stream_add #(.SIMD(1), .BITS(WIDTH)) dut (.*);

    // As in proof_order, with one output for two inputs: the beat that has ahead_q before it is followed.
    wire logic [1:0] valid = {in1_tvalid, in0_tvalid};
    wire logic [1:0] ready = {in1_tready, in0_tready};
    wire logic [15:0] data = {in1_tdata, in0_tdata};
    wire logic [1:0] push = valid & ready;
    wire logic pop = out0_tvalid && out0_tready;
    logic [2:0] ahead_q;
    logic [1:0][2:0] held_q, held_next;
    logic [1:0][WIDTH-1:0] seen_q;
    wire logic [2:0] longer = held_next[0] > held_next[1] ? held_next[0] : held_next[1];
    wire logic followed = ahead_q < longer + 3'(pop) && !(pop && ahead_q == '0);
    always_ff @(posedge clk) begin
        if (rst_n && followed) ahead_q <= ahead_q - 3'(pop);
        else ahead_q <= (rst_n ? longer : '0) + 3'(pick);
    end
    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(3)) quiet (.clk, .rst_n, .pins({in0_tready, in1_tready, out0_tvalid}));
    for (genvar i = 0; i < 2; i++) begin : g_in
        assign held_next[i] = held_q[i] + 3'(push[i]) - 3'(pop);
        always_ff @(posedge clk) begin
            held_q[i] <= rst_n ? held_next[i] : '0;
            if (push[i] && ahead_q == held_q[i]) seen_q[i] <= data[8*i+:WIDTH];
        end
        proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
            .clk, .rst_n, .data(data[8*i+:8]), .valid(valid[i]), .ready(ready[i])
        );
        proof_progress #(.LIMIT(2)) in (.clk, .rst_n, .want(&valid && out0_tready), .done(ready[i]));
        always_comb begin
            if (rst_n) begin
                p_invent : assert (!out0_tvalid || held_q[i] != '0);
                p_lose : assert (held_next[i] <= 3);
            end
        end
    end
    proof_hold #(.WIDTH(8)) hold (
        .clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready)
    );
    proof_progress #(.LIMIT(1)) out (
        .clk, .rst_n, .want(held_q[0] != '0 && held_q[1] != '0), .done(out0_tvalid)
    );
    localparam logic signed [WIDTH:0] TOP = (1 << (WIDTH - 1)) - 1, BOTTOM = -(1 << (WIDTH - 1));
    wire logic signed [WIDTH:0] exact = (WIDTH + 1)'($signed(seen_q[0])) + (WIDTH + 1)'($signed(seen_q[1]));
    wire logic signed [WIDTH:0] expected = exact > TOP ? TOP : exact < BOTTOM ? BOTTOM : exact;
    always_comb begin
        if (rst_n) begin
            p_padding : assert (out0_tdata[7:WIDTH] == '0);
            if (out0_tvalid && ahead_q == '0 && held_q[0] != '0 && held_q[1] != '0) begin
                p_data : assert (out0_tdata[WIDTH-1:0] == expected[WIDTH-1:0]);
            end
        end
    end
endmodule

`default_nettype wire
