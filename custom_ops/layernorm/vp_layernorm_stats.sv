// Sums of a token's codes and of their squares: S1 = sum X_i, S2 = sum X_i^2 over BEATS beats of SIMD
// signed 16-bit codes. Beats come whenever they do; a FIFO has room for the sums of TOKENS tokens, and no more may
// be in it. With CENTRED 0 there is no S1: it is 0.
`default_nettype none

module vp_layernorm_stats #(
    int unsigned BEATS    = 8,
    int unsigned SIMD     = 4,
    int unsigned S1_WIDTH = 21,
    int unsigned S2_WIDTH = 36,
    int unsigned TOKENS   = 2,
    bit          CENTRED  = 1'b1
) (
    input  wire logic                       clk, rst_n,
    input  wire logic [SIMD*16-1:0]         in_data,
    input  wire logic                       in_valid,
    output      logic [S1_WIDTH-1:0]        s1,
    output      logic [S2_WIDTH-1:0]        s2,
    output      logic                       out_valid,
    input  wire logic                       out_ready
);
    localparam int unsigned SQUARE = 3;  // cycles: operands, product, result
    localparam int unsigned LEVELS = $clog2(SIMD);
    localparam int unsigned BEAT_W = vp_pkg::width(BEATS);

    // Squares, then their adder tree.
    logic [SIMD*32-1:0] squares;
    for (genvar i = 0; i < SIMD; i++) begin : g_square
        logic signed [15:0] x;
        // Registers of the slice, which must not become shift registers in LUTs with those of the adder tree.
        (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
        logic [30:0] product_q, square_q;
        vp_copy #(.WIDTH(16)) operand (.clk, .in(in_data[i*16+:16]), .out(x));
        always_ff @(posedge clk) begin
            product_q <= 31'(x * x);
            square_q  <= product_q;
        end
        assign squares[i*32+:32] = {1'b0, square_q};
    end
    logic [31+LEVELS:0] beat_s2;
    logic beat_valid;
    vp_adder_tree #(.NUM(SIMD), .WIDTH(32)) tree2 (.clk, .en(1'b1), .terms(squares), .sum(beat_s2));
    vp_delay #(.WIDTH(1), .LENGTH(SQUARE + LEVELS)) valid (.clk, .rst_n, .in(in_valid), .out(beat_valid));

    // Sums over the beats of a token.
    logic [BEAT_W-1:0] left_q;  // beats of the token after the next one
    logic first_q, last_q, done_q, room;
    logic [S2_WIDTH-1:0] sum2_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            left_q  <= BEAT_W'(BEATS - 1);
            first_q <= 1'b1;
            last_q  <= BEATS == 1;
            done_q  <= 1'b0;
        end else begin
            done_q <= beat_valid && last_q;
            if (beat_valid) begin
                left_q  <= last_q ? BEAT_W'(BEATS - 1) : left_q - 1'b1;
                first_q <= last_q;
                last_q  <= BEATS == 1 || left_q == BEAT_W'(1);
            end
        end
    end
    always_ff @(posedge clk) begin
        if (beat_valid) sum2_q <= (first_q ? '0 : sum2_q) + S2_WIDTH'(beat_s2);
    end

    // More words than tokens: a FIFO refuses a beat in the cycle in which its last word moves to the output, and is no RAM
    // where it has fewer than three.
    if (CENTRED) begin : g_mean
        // The codes have registers of their own before their adder tree: those of the squares belong to DSP slices.
        logic [SIMD*16-1:0] codes;
        logic [15+LEVELS:0] early_s1, beat_s1;
        logic [S1_WIDTH-1:0] sum1_q;
        vp_copy #(.WIDTH(SIMD * 16)) codes_copy (.clk, .in(in_data), .out(codes));
        vp_adder_tree #(.NUM(SIMD), .WIDTH(16)) tree1 (.clk, .en(1'b1), .terms(codes), .sum(early_s1));
        vp_delay #(.WIDTH(16 + LEVELS), .LENGTH(SQUARE - 1)) delay1 (.clk, .rst_n, .in(early_s1), .out(beat_s1));
        always_ff @(posedge clk) begin
            if (beat_valid) sum1_q <= (first_q ? '0 : sum1_q) + S1_WIDTH'($signed(beat_s1));
        end
        vp_fifo #(.WIDTH(S1_WIDTH + S2_WIDTH), .DEPTH(TOKENS + 2)) sums (
            .clk, .rst_n, .in_data({sum1_q, sum2_q}), .in_valid(done_q), .in_ready(room),
            .out_data({s1, s2}), .out_valid, .out_ready
        );
    end else begin : g_square_alone
        assign s1 = '0;
        vp_fifo #(.WIDTH(S2_WIDTH), .DEPTH(TOKENS + 2)) sums (
            .clk, .rst_n, .in_data(sum2_q), .in_valid(done_q), .in_ready(room), .out_data(s2), .out_valid, .out_ready
        );
    end

`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && done_q && !room) $fatal(1, "vp_layernorm_stats: more than %0d tokens wait", TOKENS);
    end
`endif
endmodule

`default_nettype wire
