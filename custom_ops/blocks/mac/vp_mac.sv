// Multiply-accumulate array of one lane: for TOKENS rows and PE outputs,
//   acc[t][p] = (first ? 0 : acc[t][p]) + sum_s x[t][s] w[p][s]     modulo 2^ACC_BITS.
// A step enters every cycle; tag and first travel with it, tag_out stands a cycle before its acc. The implementation is
// "portable" (all inferred), "dsp48e2" (cascades of primitives) or "lut" (no multipliers); each checks its
// LATENCY, the cycles from x to acc. The weights of a step come in CHAIN parts: those of elements s with s / (SIMD / CHAIN) = i are
// due i cycles after x. Never stalls; reset clears the tags under way.
// With VP_MAC_MODEL defined all of them are vp_mac_model, which has the same bits in every cycle.
`default_nettype none

module vp_mac #(
    parameter    MAC_STYLE        = "portable",
    int unsigned LATENCY     = 6,
    int unsigned CHAIN       = 1,   // adders in cascade; 1 for the portable implementation
    int unsigned TOKENS_PER  = 1,   // tokens and outputs that a DSP48E2 multiplies at once
    int unsigned OUTPUTS_PER = 1,
    int unsigned TOKENS      = 2,
    int unsigned SIMD        = 4,
    int unsigned PE          = 2,
    int unsigned X_BITS      = 8,
    bit          X_SIGNED    = 1'b1,
    int unsigned W_BITS      = 8,
    int unsigned ACC_BITS    = 24,
    int unsigned TAG_BITS    = 1
) (
    input  wire logic                          clk, rst_n,
    input  wire logic [TOKENS*SIMD*X_BITS-1:0] x,      // x[t][s], s fastest
    input  wire logic [PE*SIMD*W_BITS-1:0]     w,      // w[p][s], s fastest
    input  wire logic                          first,
    input  wire logic [TAG_BITS-1:0]           tag,
    output      logic [TOKENS*PE*ACC_BITS-1:0] acc,    // acc[t][p], p fastest
    output      logic [TAG_BITS-1:0]           tag_out
);
    // first acts one cycle before acc is out, in a copy for each token.
    logic early_first;
    logic [TOKENS-1:0] acc_first;
    if (LATENCY < 3) $error("vp_mac: LATENCY %0d must be 3 or more", LATENCY);
    vp_delay #(.WIDTH(1), .LENGTH(LATENCY - 2)) firsts (.clk, .rst_n, .in(first), .out(early_first));
    vp_delay #(.WIDTH(TAG_BITS), .LENGTH(LATENCY - 1)) tags (.clk, .rst_n, .in(tag), .out(tag_out));
    for (genvar t = 0; t < TOKENS; t++) begin : g_first
        vp_copy #(.WIDTH(1)) copy (.clk, .in(early_first), .out(acc_first[t]));
    end

`ifdef VP_MAC_MODEL
    vp_mac_model #(
        .TOKENS(TOKENS), .SIMD(SIMD), .PE(PE), .X_BITS(X_BITS), .X_SIGNED(X_SIGNED), .W_BITS(W_BITS),
        .ACC_BITS(ACC_BITS), .LATENCY(LATENCY), .CHAIN(CHAIN)
    ) model (.clk, .x, .w, .acc_first, .acc);
`else
    if (MAC_STYLE == "dsp48e2") begin : g_dsp48e2
        vp_mac_dsp48e2 #(
            .TOKENS(TOKENS), .SIMD(SIMD), .PE(PE), .X_BITS(X_BITS), .X_SIGNED(X_SIGNED), .W_BITS(W_BITS),
            .ACC_BITS(ACC_BITS), .LATENCY(LATENCY), .CHAIN(CHAIN), .TOKENS_PER(TOKENS_PER),
            .OUTPUTS_PER(OUTPUTS_PER)
        ) implementation (.*);
    end else if (MAC_STYLE == "lut") begin : g_lut
        vp_mac_lut #(
            .TOKENS(TOKENS), .SIMD(SIMD), .PE(PE), .X_BITS(X_BITS), .X_SIGNED(X_SIGNED), .W_BITS(W_BITS),
            .ACC_BITS(ACC_BITS), .LATENCY(LATENCY), .CHAIN(CHAIN)
        ) implementation (.*);
    end else if (MAC_STYLE == "portable") begin : g_portable
        if (CHAIN != 1) $error("vp_mac: CHAIN %0d must be 1 with the portable implementation", CHAIN);
        vp_mac_portable #(
            .TOKENS(TOKENS), .SIMD(SIMD), .PE(PE), .X_BITS(X_BITS), .X_SIGNED(X_SIGNED), .W_BITS(W_BITS),
            .ACC_BITS(ACC_BITS), .LATENCY(LATENCY)
        ) implementation (.*);
    end else begin : g_unknown
        $error("vp_mac: MAC_STYLE is %s, use portable, dsp48e2 or lut", MAC_STYLE);
    end
`endif
endmodule

`default_nettype wire
