// Model of vp_mac for simulations of whole designs: in every cycle the bits of each implementation, at a fraction of the
// code. Sums of products are plain loops; part i of the weights joins them i cycles after x, and what is left of LATENCY
// comes before the accumulators. Not for synthesis: there is nothing in this file unless VP_MAC_MODEL is defined.
`default_nettype none

`ifdef VP_MAC_MODEL
module vp_mac_model #(
    int unsigned TOKENS   = 2,
    int unsigned SIMD     = 4,
    int unsigned PE       = 2,
    int unsigned X_BITS   = 8,
    bit          X_SIGNED = 1'b1,
    int unsigned W_BITS   = 8,
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
    localparam int PART = SIMD / CHAIN;               // elements of a part of the weights
    localparam int STAGES = LATENCY - 1;              // from x to the sums that the accumulators add

    if (LATENCY < CHAIN + 1 || SIMD % CHAIN != 0)
        $error("vp_mac_model: LATENCY %0d must be %0d or more, CHAIN %0d divide SIMD %0d", LATENCY, CHAIN + 1, CHAIN, SIMD);

    longint x_q[CHAIN][TOKENS][SIMD];  // x_q[i]: of i + 1 cycles ago
    longint sum_q[STAGES][TOKENS][PE];
    longint acc_q[TOKENS][PE];
    longint x_now[TOKENS][SIMD];
    longint w_now[PE][SIMD];
    longint total;

    /* verilator lint_off BLKSEQ */
    always_ff @(posedge clk) begin
        /* verilator unroll_disable */
        for (int t = 0; t < int'(TOKENS); t++) begin
            /* verilator unroll_disable */
            for (int p = 0; p < int'(PE); p++) begin
                acc_q[t][p] = (acc_first[t] ? 0 : acc_q[t][p]) + sum_q[STAGES-1][t][p];
                acc[(t*PE+p)*ACC_BITS+:ACC_BITS] <= acc_q[t][p][ACC_BITS-1:0];
            end
        end
        /* verilator unroll_disable */
        for (int p = 0; p < int'(PE); p++) begin
            /* verilator unroll_disable */
            for (int s = 0; s < int'(SIMD); s++) begin
                w_now[p][s] = 64'(signed'(w[(p*SIMD+s)*W_BITS+:W_BITS]));
            end
        end
        /* verilator unroll_disable */
        for (int t = 0; t < int'(TOKENS); t++) begin
            /* verilator unroll_disable */
            for (int s = 0; s < int'(SIMD); s++) begin
                if (X_SIGNED) x_now[t][s] = 64'(signed'(x[(t*SIMD+s)*X_BITS+:X_BITS]));
                else x_now[t][s] = 64'(x[(t*SIMD+s)*X_BITS+:X_BITS]);
            end
        end
        // From the last stage to the first, so that each takes what the one before held.
        /* verilator unroll_disable */
        for (int i = int'(STAGES) - 1; i >= 0; i--) begin
            /* verilator unroll_disable */
            for (int t = 0; t < int'(TOKENS); t++) begin
                /* verilator unroll_disable */
                for (int p = 0; p < int'(PE); p++) begin
                    total = i == 0 ? 0 : sum_q[i-1][t][p];
                    if (i < int'(CHAIN)) begin
                        /* verilator unroll_disable */
                        for (int s = i * PART; s < (i + 1) * PART; s++) begin
                            total += (i == 0 ? x_now[t][s] : x_q[i-1][t][s]) * w_now[p][s];
                        end
                    end
                    sum_q[i][t][p] = total;
                end
            end
        end
        /* verilator unroll_disable */
        for (int i = int'(CHAIN) - 1; i >= 0; i--) begin
            x_q[i] = i == 0 ? x_now : x_q[i-1];
        end
    end
    /* verilator lint_on BLKSEQ */
endmodule
`endif

`default_nettype wire
