// Implementation of vp_mac without multipliers, for narrow weights. Two activations of a position and their sum, made
// once for all outputs, are what a pair of weight bits can choose among (0, one, the other, both); a LUT6
// a bit chooses and adds to the position before. Each bit of the weights has such a cascade of CHAIN
// positions; their results are added by weight, the one of the sign bit is subtracted. All sums on the way
// are held inverted (~a - b is ~(a + b)): in a subtraction Yosys gives the carry chain the plain operand.
`default_nettype none

module vp_mac_lut #(
    int unsigned TOKENS   = 2,
    int unsigned SIMD     = 4,
    int unsigned PE       = 2,
    int unsigned X_BITS   = 8,
    bit          X_SIGNED = 1'b1,
    int unsigned W_BITS   = 4,
    int unsigned ACC_BITS = 24,
    int unsigned CHAIN    = 2,
    int unsigned LATENCY  = 6
) (
    input  wire logic                          clk,
    input  wire logic [TOKENS*SIMD*X_BITS-1:0] x,
    input  wire logic [PE*SIMD*W_BITS-1:0]     w,
    input  wire logic [TOKENS-1:0]             acc_first,  // of each token, a cycle before acc
    output      logic [TOKENS*PE*ACC_BITS-1:0] acc
);
    localparam int unsigned PAIR = SIMD / CHAIN;                       // elements of a position, 1 or 2
    localparam int unsigned XS = X_SIGNED ? X_BITS : X_BITS + 1;
    localparam int unsigned LEVELS = $clog2(W_BITS);

    if (LATENCY != CHAIN + 2 + LEVELS) $error("vp_mac_lut: LATENCY %0d must be %0d", LATENCY, CHAIN + 2 + LEVELS);
    if (SIMD % CHAIN != 0 || PAIR > 2 || W_BITS < 2)
        $error("vp_mac_lut: CHAIN %0d must be SIMD %0d or half of it, W_BITS %0d at least 2", CHAIN, SIMD, W_BITS);

    logic [PE*SIMD*W_BITS-1:0] w_q;
    always_ff @(posedge clk) w_q <= w;

    for (genvar t = 0; t < TOKENS; t++) begin : g_token
        // --- what the weight bits choose among, position i i cycles late ---
        logic signed [CHAIN-1:0][XS:0] one, other, both;
        for (genvar i = 0; i < CHAIN; i++) begin : g_operand
            logic [PAIR*X_BITS-1:0] late;
            vp_delay #(.WIDTH(PAIR * X_BITS), .LENGTH(i)) delay (
                .clk, .rst_n(1'b1), .in(x[(t*SIMD+i*PAIR)*X_BITS+:PAIR*X_BITS]), .out(late)
            );
            wire logic [X_BITS-1:0] lo = late[X_BITS-1:0];
            wire logic [X_BITS-1:0] hi = late[(PAIR-1)*X_BITS+:X_BITS];
            wire logic signed [XS:0] lo_s = {{(XS + 1 - X_BITS) {X_SIGNED && lo[X_BITS-1]}}, lo};
            wire logic signed [XS:0] hi_s = {{(XS + 1 - X_BITS) {X_SIGNED && hi[X_BITS-1]}}, hi};
            always_ff @(posedge clk) begin
                one[i]   <= lo_s;
                other[i] <= PAIR == 2 ? hi_s : '0;
                both[i]  <= lo_s + hi_s;
            end
        end

        for (genvar p = 0; p < PE; p++) begin : g_pe
            vp_mac_lut_output #(.SIMD(SIMD), .XS(XS), .W_BITS(W_BITS), .ACC_BITS(ACC_BITS), .CHAIN(CHAIN)) sums (
                .clk, .one, .other, .both, .w(w_q[p*SIMD*W_BITS+:SIMD*W_BITS]), .acc_first(acc_first[t]),
                .acc(acc[(t*PE+p)*ACC_BITS+:ACC_BITS])
            );
        end
    end
endmodule

`default_nettype wire
