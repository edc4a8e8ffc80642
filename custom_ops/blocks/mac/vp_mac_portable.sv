// Implementation of vp_mac that every tool infers. Two tokens share a weight, so that two products share one
// multiplier when X_BITS <= 8: (hi 2^18 + lo) w = hi w 2^18 + lo w. Up to GROUP such products are added
// before they are taken apart, as long as the lower sum fits 18 bits; its sign bit is the carry that the
// upper sum lacks.
`default_nettype none

module vp_mac_portable #(
    int unsigned TOKENS   = 2,
    int unsigned SIMD     = 4,
    int unsigned PE       = 2,
    int unsigned X_BITS   = 8,
    bit          X_SIGNED = 1'b1,
    int unsigned W_BITS   = 8,
    int unsigned ACC_BITS = 24,
    int unsigned LATENCY  = 6
) (
    input  wire logic                          clk,
    input  wire logic [TOKENS*SIMD*X_BITS-1:0] x,
    input  wire logic [PE*SIMD*W_BITS-1:0]     w,
    input  wire logic [TOKENS-1:0]             acc_first,  // of each token, a cycle before acc
    output      logic [TOKENS*PE*ACC_BITS-1:0] acc
);
    function automatic int unsigned largest_divisor(int unsigned value, int unsigned limit);
        largest_divisor = 1;
        for (int unsigned i = 1; i <= value; i++) begin
            if (value % i == 0 && i <= limit) largest_divisor = i;
        end
    endfunction

    localparam int unsigned LOW = 18;                                        // field of the lower product
    localparam bit PACK = TOKENS % 2 == 0 && X_BITS <= 8 && W_BITS <= 9;
    localparam int unsigned PER = PACK ? 2 : 1;                              // tokens a multiplier
    localparam int unsigned A_BITS = PACK ? LOW + X_BITS + 1 : X_BITS + 1;   // signed multiplier operand
    localparam int unsigned P_BITS = A_BITS + W_BITS;
    localparam int unsigned MAGNITUDE = (X_SIGNED ? X_BITS - 1 : X_BITS) + W_BITS - 1;
    localparam int unsigned GROUP = largest_divisor(SIMD, PACK ? ((1 << (LOW - 1)) - 1) >> MAGNITUDE : SIMD);
    localparam int unsigned GROUPS = SIMD / GROUP;
    localparam int unsigned G_BITS = P_BITS + $clog2(GROUP);
    localparam int unsigned H_BITS = PACK ? G_BITS - LOW : G_BITS;           // upper, or only, group sum

    if (LATENCY != 4 + $clog2(GROUP) + $clog2(GROUPS))
        $error("vp_mac_portable: LATENCY %0d must be %0d", LATENCY, 4 + $clog2(GROUP) + $clog2(GROUPS));
    if (TOKENS < 1 || SIMD < 1 || PE < 1 || X_BITS < 2 || W_BITS < 2 || W_BITS > 18 || X_BITS > 26)
        $error("vp_mac_portable: TOKENS %0d, SIMD %0d, PE %0d, X_BITS %0d or W_BITS %0d is out of range", TOKENS, SIMD, PE, X_BITS, W_BITS);

    logic [PE*SIMD*W_BITS-1:0] w_q;
    always_ff @(posedge clk) w_q <= w;

    for (genvar u = 0; u < TOKENS / PER; u++) begin : g_tokens
        logic [SIMD*A_BITS-1:0] a;
        for (genvar s = 0; s < SIMD; s++) begin : g_operand
            // Registers of the DSP slices, which must not become shift registers in LUTs with those that x comes
            // through. Signs are extended behind them.
            wire logic [X_BITS-1:0] lo = x[(u*PER*SIMD+s)*X_BITS+:X_BITS];
            (* shreg_extract = "no" *) logic [X_BITS-1:0] lo_q;
            (* keep *) always_ff @(posedge clk) lo_q <= lo;
            wire logic signed [X_BITS:0] lo_s = {X_SIGNED && lo_q[X_BITS-1], lo_q};
            if (PACK) begin : g_pack
                wire logic [X_BITS-1:0] hi = x[((u*PER+1)*SIMD+s)*X_BITS+:X_BITS];
                wire logic signed [X_BITS:0] hi_s = {X_SIGNED && hi[X_BITS-1], hi};
                (* shreg_extract = "no" *) logic signed [X_BITS:0] hi_q;
                (* keep *) always_ff @(posedge clk) hi_q <= hi_s - $signed({1'b0, X_SIGNED && lo[X_BITS-1]});
                assign a[s*A_BITS+:A_BITS] = {hi_q, LOW'(lo_s)};
            end else begin : g_single
                assign a[s*A_BITS+:A_BITS] = lo_s;
            end
        end

        for (genvar p = 0; p < PE; p++) begin : g_pe
            logic [GROUPS*(H_BITS+1)-1:0] upper;  // {sum, carry}
            logic [GROUPS*(LOW+1)-1:0] lower;
            for (genvar g = 0; g < GROUPS; g++) begin : g_group
                logic [GROUP*P_BITS-1:0] product_q, sum_term_q;  // behind the multiplier
                for (genvar i = 0; i < GROUP; i++) begin : g_product
                    wire logic signed [A_BITS-1:0] x_s = a[(g*GROUP+i)*A_BITS+:A_BITS];
                    wire logic signed [W_BITS-1:0] w_s = w_q[(p*SIMD+g*GROUP+i)*W_BITS+:W_BITS];
                    always_ff @(posedge clk) begin
                        product_q[i*P_BITS+:P_BITS]  <= x_s * w_s;
                        sum_term_q[i*P_BITS+:P_BITS] <= product_q[i*P_BITS+:P_BITS];
                    end
                end
                logic signed [G_BITS-1:0] sum;
                vp_adder_tree #(.NUM(GROUP), .WIDTH(P_BITS)) tree (.clk, .en(1'b1), .terms(sum_term_q), .sum);
                wire logic borrow = PACK && lower[g*(LOW+1)+LOW];
                assign lower[g*(LOW+1)+:LOW+1] = {LOW'(sum), 1'b0};
                assign upper[g*(H_BITS+1)+:H_BITS+1] = {sum[G_BITS-1-:H_BITS], borrow};
            end

            vp_mac_sum #(.NUM(GROUPS), .WIDTH(H_BITS + 1), .ACC_BITS(ACC_BITS)) upper_sum (
                .clk, .terms(upper), .first(acc_first[u*PER+PER-1]), .acc(acc[((u*PER+PER-1)*PE+p)*ACC_BITS+:ACC_BITS])
            );
            if (PACK) begin : g_lower
                vp_mac_sum #(.NUM(GROUPS), .WIDTH(LOW + 1), .ACC_BITS(ACC_BITS)) lower_sum (
                    .clk, .terms(lower), .first(acc_first[u*PER]), .acc(acc[(u*PER*PE+p)*ACC_BITS+:ACC_BITS])
                );
            end
        end
    end
endmodule

`default_nettype wire
