// Implementation of vp_mac in DSP48E2 cascades. A multiplier takes TOKENS_PER tokens of OUTPUTS_PER outputs: two
// elements share its 27-bit operand, put together by the pre-adder (weights of two outputs, or else
// activations of two tokens); for four products two activations share the 18-bit operand too.
// A product then has fields of FIELD bits, one for each (token, output). CHAIN of them are added in a cascade
// before they are taken apart; an offset of 2^HALF - PLUS_ONE in every field keeps the fields from going
// negative, so that none borrows from the next. Where a sum can reach 2^HALF itself, the offset is
// one less than 2^HALF, and the one comes back at the carry inputs of the adders behind.
// One product a multiplier and one cascade: the last DSP48E2 accumulates.
`default_nettype none

module vp_mac_dsp48e2 #(
    int unsigned TOKENS      = 2,
    int unsigned SIMD        = 4,
    int unsigned PE          = 2,
    int unsigned X_BITS      = 8,
    bit          X_SIGNED    = 1'b1,
    int unsigned W_BITS      = 8,
    int unsigned ACC_BITS    = 24,
    int unsigned CHAIN       = 4,
    int unsigned TOKENS_PER  = 2,
    int unsigned OUTPUTS_PER = 1,
    int unsigned LATENCY     = 8
) (
    input  wire logic                          clk,
    input  wire logic [TOKENS*SIMD*X_BITS-1:0] x,
    input  wire logic [PE*SIMD*W_BITS-1:0]     w,
    input  wire logic [TOKENS-1:0]             acc_first,  // of each token, a cycle before acc
    input  wire logic                          first,      // with x
    output      logic [TOKENS*PE*ACC_BITS-1:0] acc
);
    localparam int unsigned FIELDS = TOKENS_PER * OUTPUTS_PER;
    localparam int unsigned CHAINS = SIMD / CHAIN;
    localparam bit W_ON_A = OUTPUTS_PER == 2;
    // The 27-bit operand holds -2^26 to 2^26 - 1, the 18-bit one -2^17 to 2^17 - 1.
    localparam int unsigned FIELD_A = (26 - (W_ON_A ? W_BITS : X_BITS)) / (FIELDS == 4 ? 2 : 1);
    localparam int unsigned FIELD_B = 17 - X_BITS;
    localparam int unsigned FIELD = FIELDS == 1 ? 47 : FIELDS == 4 && FIELD_B < FIELD_A ? FIELD_B : FIELD_A;
    localparam int unsigned A_SHIFT = FIELD * (W_ON_A ? TOKENS_PER : 1);
    localparam int unsigned LARGEST =  // of the magnitudes of a cascade's sums
        X_SIGNED ? CHAIN << (X_BITS + W_BITS - 2) : (CHAIN * ((1 << X_BITS) - 1)) << (W_BITS - 1);
    localparam int unsigned HALF = $clog2(LARGEST);
    localparam bit PLUS_ONE = X_SIGNED && LARGEST == 1 << HALF;
    localparam bit ACCUMULATE = FIELDS == 1 && CHAINS == 1;
    localparam int unsigned CYCLES = ACCUMULATE ? CHAIN + 3 : CHAIN + 4 + $clog2(CHAINS);

    if (LATENCY != CYCLES) $error("vp_mac_dsp48e2: LATENCY %0d must be %0d", LATENCY, CYCLES);
    if (SIMD % CHAIN != 0 || TOKENS % TOKENS_PER != 0 || PE % OUTPUTS_PER != 0 || TOKENS_PER > 2
        || OUTPUTS_PER > 2 || HALF + 1 > FIELD || (FIELDS - 1) * FIELD + HALF + 1 > 48 || ACC_BITS > 48)
        $error("vp_mac_dsp48e2: %0d x %0d products of %0d x %0d bits in cascades of %0d do not fit",
               TOKENS_PER, OUTPUTS_PER, X_BITS, W_BITS, CHAIN);

    function automatic logic [47:0] offsets();
        offsets = '0;
        for (int unsigned f = 0; f < FIELDS; f++) offsets |= ((48'd1 << HALF) - 48'(PLUS_ONE)) << (f * FIELD);
    endfunction

    for (genvar u = 0; u < TOKENS / TOKENS_PER; u++) begin : g_tokens
        // --- operands of the positions, each one cycle later than the one before ---
        localparam int unsigned PAIR = 2 * X_BITS + 1;  // {upper less the lower one's borrow, lower}
        logic [SIMD*PAIR-1:0] operand;
        for (genvar s = 0; s < SIMD; s++) begin : g_operand
            wire logic [X_BITS-1:0] lo = x[(u*TOKENS_PER*SIMD+s)*X_BITS+:X_BITS];
            logic [X_BITS:0] hi;
            if (TOKENS_PER == 2) begin : g_two
                wire logic [X_BITS-1:0] second = x[((u*TOKENS_PER+1)*SIMD+s)*X_BITS+:X_BITS];
                wire logic [X_BITS:0] upper = {X_SIGNED && second[X_BITS-1], second};
                wire logic borrow = W_ON_A && X_SIGNED && lo[X_BITS-1];  // else the pre-adder sees to it
                for (genvar k = 0; k <= X_BITS; k++) begin : g_bit
                    if (k == 0) begin : g_lowest
                        assign hi[k] = upper[k] ^ borrow;
                    end else begin : g_other
                        assign hi[k] = upper[k] ^ (borrow && upper[k-1:0] == '0);
                    end
                end
            end else begin : g_one
                assign hi = '0;
            end
            vp_delay #(.WIDTH(PAIR), .LENGTH(s / CHAINS)) delay (
                .clk, .rst_n(1'b1), .in({hi, lo}), .out(operand[s*PAIR+:PAIR])
            );
        end

        for (genvar o = 0; o < PE / OUTPUTS_PER; o++) begin : g_outputs
            logic [FIELDS*CHAINS*(HALF+2)-1:0] field;  // {signed sum less PLUS_ONE, PLUS_ONE}
            logic [47:0] sum;
            for (genvar c = 0; c < CHAINS; c++) begin : g_chain
                logic [CHAIN*27-1:0] a, d;
                logic [CHAIN*18-1:0] b;
                for (genvar i = 0; i < CHAIN; i++) begin : g_position
                    localparam int unsigned S = i * CHAINS + c;
                    wire logic [X_BITS-1:0] x_lo = operand[S*PAIR+:X_BITS];
                    wire logic signed [X_BITS:0] x_hi = operand[S*PAIR+X_BITS+:X_BITS+1];
                    wire logic signed [X_BITS:0] x_lo_s = {X_SIGNED && x_lo[X_BITS-1], x_lo};
                    wire logic signed [W_BITS-1:0] w_lo = w[(o*OUTPUTS_PER*SIMD+S)*W_BITS+:W_BITS];
                    if (W_ON_A) begin : g_weights
                        wire logic signed [W_BITS-1:0] w_hi = w[((o*OUTPUTS_PER+1)*SIMD+S)*W_BITS+:W_BITS];
                        assign a[i*27+:27] = 27'(w_hi) << A_SHIFT;
                        assign d[i*27+:27] = 27'(w_lo);
                        if (TOKENS_PER == 2) begin : g_two
                            wire logic signed [FIELD+X_BITS:0] both = {x_hi, FIELD'(x_lo_s)};
                            assign b[i*18+:18] = 18'(both);
                        end else begin : g_one
                            assign b[i*18+:18] = 18'(x_lo_s);
                        end
                    end else begin : g_activations
                        assign a[i*27+:27] = TOKENS_PER == 2 ? 27'(x_hi) << A_SHIFT : '0;
                        assign d[i*27+:27] = 27'(x_lo_s);
                        assign b[i*18+:18] = 18'(w_lo);
                    end
                end
                logic [47:0] p;
                vp_mac_chain #(.CHAIN(CHAIN), .RND(offsets()), .ACCUMULATE(ACCUMULATE)) chain (
                    .clk, .a, .d, .b, .first, .p
                );
                for (genvar f = 0; f < FIELDS; f++) begin : g_field
                    wire logic [HALF:0] raised = p[f*FIELD+:HALF+1];
                    assign field[(f*CHAINS+c)*(HALF+2)+:HALF+2] = {!raised[HALF], raised[HALF-1:0], PLUS_ONE};
                end
                if (c == 0) begin : g_first
                    assign sum = p;
                end
            end
            for (genvar f = 0; f < FIELDS; f++) begin : g_sum
                localparam int unsigned T = u * TOKENS_PER + f % TOKENS_PER;
                localparam int unsigned P = o * OUTPUTS_PER + f / TOKENS_PER;
                if (ACCUMULATE) begin : g_dsp
                    assign acc[(T*PE+P)*ACC_BITS+:ACC_BITS] = sum[ACC_BITS-1:0];
                end else begin : g_lut
                    vp_mac_sum #(.NUM(CHAINS), .WIDTH(HALF + 2), .ACC_BITS(ACC_BITS)) sums (
                        .clk, .terms(field[f*CHAINS*(HALF+2)+:CHAINS*(HALF+2)]), .first(acc_first[T]),
                        .acc(acc[(T*PE+P)*ACC_BITS+:ACC_BITS])
                    );
                end
            end
        end
    end
endmodule

`default_nettype wire
