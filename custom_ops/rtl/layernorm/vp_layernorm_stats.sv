// Sums of a token's codes and of their squares: S1 = sum X_i, S2 = sum X_i^2 over BEATS beats of SIMD
// signed 16-bit codes. The result waits in a register of its own while the next token is summed; when
// that one is done too, the unit stands still. in_ready passes through from out_ready.
`default_nettype none

module vp_layernorm_stats #(
    int unsigned BEATS    = 8,
    int unsigned SIMD     = 4,
    int unsigned S1_WIDTH = 21,
    int unsigned S2_WIDTH = 36
) (
    input  wire logic                       clk,
    input  wire logic                       rst_n,
    input  wire logic [SIMD*16-1:0]         in_data,
    input  wire logic                       in_valid,
    output      logic                       in_ready,
    output      logic signed [S1_WIDTH-1:0] s1,
    output      logic [S2_WIDTH-1:0]        s2,
    output      logic                       out_valid,
    input  wire logic                       out_ready
);
    localparam int unsigned STAGES = 1 + $clog2(SIMD);
    localparam int unsigned BEAT_W = BEATS > 1 ? $clog2(BEATS) : 1;

    logic out_valid_q, en;
    assign in_ready = en;

    // Codes and squares, then the adder trees.
    logic [SIMD*16-1:0] x_q;
    logic [SIMD*32-1:0] square_q;
    always_ff @(posedge clk) if (en) x_q <= in_data;
    for (genvar i = 0; i < SIMD; i++) begin : g_square
        wire logic signed [15:0] x = in_data[i*16+:16];
        logic signed [31:0] product_q;
        always_ff @(posedge clk) if (en) product_q <= x * x;
        assign square_q[i*32+:32] = product_q;
    end
    logic signed [S1_WIDTH-1:0] beat_s1;
    logic signed [S2_WIDTH:0] beat_s2;
    vp_adder_tree #(.NUM(SIMD), .WIDTH(16), .SUM_WIDTH(S1_WIDTH)) tree1 (
        .clk, .en, .terms(x_q), .sum(beat_s1)
    );
    vp_adder_tree #(.NUM(SIMD), .WIDTH(32), .SUM_WIDTH(S2_WIDTH + 1)) tree2 (
        .clk, .en, .terms(square_q), .sum(beat_s2)
    );

    // Sums over the beats of a token.
    logic [STAGES-1:0] valid_q;
    logic [BEAT_W-1:0] beat_q;
    logic signed [S1_WIDTH-1:0] sum1_q, sum1;
    logic [S2_WIDTH-1:0] sum2_q, sum2;
    wire logic beat_valid = valid_q[STAGES-1];
    wire logic last = beat_q == BEAT_W'(BEATS - 1);
    assign en = !out_valid_q || out_ready || !(beat_valid && last);
    assign sum1 = (beat_q == '0 ? '0 : sum1_q) + beat_s1;
    assign sum2 = (beat_q == '0 ? '0 : sum2_q) + beat_s2[S2_WIDTH-1:0];

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            valid_q     <= '0;
            beat_q      <= '0;
            out_valid_q <= 1'b0;
        end else begin
            if (en) valid_q <= STAGES'({valid_q, in_valid});
            if (en && beat_valid) beat_q <= last ? '0 : beat_q + 1'b1;
            if (en && beat_valid && last) out_valid_q <= 1'b1;
            else if (out_ready) out_valid_q <= 1'b0;
        end
    end
    always_ff @(posedge clk) begin
        if (en && beat_valid) begin
            sum1_q <= sum1;
            sum2_q <= sum2;
            if (last) begin
                s1 <= sum1;
                s2 <= sum2;
            end
        end
    end
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
