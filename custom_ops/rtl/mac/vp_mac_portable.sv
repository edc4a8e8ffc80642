// Body of vp_mac that every tool infers. Two tokens share a weight, so that two products share one
// multiplier when X_BITS <= 8: (hi 2^18 + lo) w = hi w 2^18 + lo w. Up to GROUP such products are added
// before they are taken apart, as long as the lower sum fits 18 bits; its sign bit is the carry that the
// upper sum lacks. LATENCY is 3 + clog2(GROUP) + clog2(SIMD / GROUP).
`default_nettype none

module vp_mac_portable #(
    int unsigned TOKENS   = 2,
    int unsigned SIMD     = 4,
    int unsigned PE       = 2,
    int unsigned X_BITS   = 8,
    bit          X_SIGNED = 1'b1,
    int unsigned W_BITS   = 8,
    int unsigned ACC_BITS = 24,
    int unsigned TAG_BITS = 1
) (
    input  wire logic                          clk,
    input  wire logic                          rst_n,
    input  wire logic [TOKENS*SIMD*X_BITS-1:0] x,
    input  wire logic [PE*SIMD*W_BITS-1:0]     w,
    input  wire logic                          first,
    input  wire logic [TAG_BITS-1:0]           tag,
    output      logic [TOKENS*PE*ACC_BITS-1:0] acc,
    output      logic [TAG_BITS-1:0]           tag_out
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
    localparam int unsigned LATENCY = 3 + $clog2(GROUP) + $clog2(GROUPS);

    if (TOKENS < 1 || SIMD < 1 || PE < 1 || X_BITS < 2 || W_BITS < 2 || W_BITS > 18 || X_BITS > 26)
    begin : g_check
        $error("vp_mac_portable: TOKENS %0d, SIMD %0d, PE %0d, X_BITS %0d or W_BITS %0d is out of range",
               TOKENS, SIMD, PE, X_BITS, W_BITS);
    end

    // first acts one cycle before acc is out.
    logic [LATENCY-1:0][TAG_BITS:0] side_q;
    always_ff @(posedge clk) begin
        if (!rst_n) side_q <= '0;
        else side_q <= {side_q[LATENCY-2:0], first, tag};
    end
    assign tag_out = side_q[LATENCY-1][TAG_BITS-1:0];
    wire logic acc_first = side_q[LATENCY-2][TAG_BITS];

    logic [PE*SIMD*W_BITS-1:0] w_q;
    always_ff @(posedge clk) w_q <= w;

    for (genvar u = 0; u < TOKENS / PER; u++) begin : g_tokens
        logic [SIMD*A_BITS-1:0] a_q;
        for (genvar s = 0; s < SIMD; s++) begin : g_operand
            wire logic [X_BITS-1:0] lo = x[(u*PER*SIMD+s)*X_BITS+:X_BITS];
            wire logic signed [X_BITS:0] lo_s = {X_SIGNED && lo[X_BITS-1], lo};
            if (PACK) begin : g_pack
                wire logic [X_BITS-1:0] hi = x[((u*PER+1)*SIMD+s)*X_BITS+:X_BITS];
                wire logic signed [X_BITS:0] hi_s = {X_SIGNED && hi[X_BITS-1], hi};
                wire logic signed [X_BITS:0] hi_borrow = hi_s + $signed({(X_BITS + 1) {lo_s[X_BITS]}});
                always_ff @(posedge clk) a_q[s*A_BITS+:A_BITS] <= {hi_borrow, LOW'(lo_s)};
            end else begin : g_single
                always_ff @(posedge clk) a_q[s*A_BITS+:A_BITS] <= lo_s;
            end
        end

        for (genvar p = 0; p < PE; p++) begin : g_pe
            logic [GROUPS*H_BITS-1:0] upper;
            logic [GROUPS*LOW-1:0] lower;
            logic [GROUPS-1:0] borrow;
            for (genvar g = 0; g < GROUPS; g++) begin : g_group
                logic [GROUP*P_BITS-1:0] product_q;
                for (genvar i = 0; i < GROUP; i++) begin : g_product
                    wire logic signed [A_BITS-1:0] a = a_q[(g*GROUP+i)*A_BITS+:A_BITS];
                    wire logic signed [W_BITS-1:0] b = w_q[(p*SIMD+g*GROUP+i)*W_BITS+:W_BITS];
                    always_ff @(posedge clk) product_q[i*P_BITS+:P_BITS] <= a * b;
                end
                logic [G_BITS-1:0] sum;
                /* verilator lint_off PINCONNECTEMPTY */
                vp_mvau_tree #(.NUM(GROUP), .WIDTH(P_BITS)) tree (
                    .clk, .terms(product_q), .carry('0), .sum, .carry_out()
                );
                /* verilator lint_on PINCONNECTEMPTY */
                assign upper[g*H_BITS+:H_BITS] = sum[G_BITS-1-:H_BITS];
                if (PACK) begin : g_split
                    assign lower[g*LOW+:LOW] = sum[LOW-1:0];
                    assign borrow[g] = sum[LOW-1];
                end else begin : g_whole
                    assign lower[g*LOW+:LOW] = '0;
                    assign borrow[g] = 1'b0;
                end
            end

            localparam int unsigned U_BITS = H_BITS + $clog2(GROUPS);
            localparam int unsigned T = u * PER;
            logic signed [U_BITS-1:0] upper_sum;
            logic upper_carry;
            logic signed [ACC_BITS-1:0] upper_q;
            vp_mvau_tree #(.NUM(GROUPS), .WIDTH(H_BITS), .CARRY(PACK)) upper_tree (
                .clk, .terms(upper), .carry(borrow), .sum(upper_sum), .carry_out(upper_carry)
            );
            wire logic [ACC_BITS-1:0] upper_old = acc_first ? '0 : upper_q;
            if (PACK) begin : g_both
                localparam int unsigned L_BITS = LOW + $clog2(GROUPS);
                logic signed [L_BITS-1:0] lower_sum;
                logic signed [ACC_BITS-1:0] lower_q;
                /* verilator lint_off PINCONNECTEMPTY */
                vp_mvau_tree #(.NUM(GROUPS), .WIDTH(LOW)) lower_tree (
                    .clk, .terms(lower), .carry('0), .sum(lower_sum), .carry_out()
                );
                /* verilator lint_on PINCONNECTEMPTY */
                wire logic [ACC_BITS-1:0] lower_old = acc_first ? '0 : lower_q;
                // Bit 0 of both operands makes the carry input.
                wire logic [ACC_BITS:0] upper_new = {upper_old, 1'b1} + {ACC_BITS'(upper_sum), upper_carry};
                always_ff @(posedge clk) begin
                    lower_q <= lower_old + ACC_BITS'(lower_sum);
                    upper_q <= upper_new[ACC_BITS:1];
                end
                assign acc[(T*PE+p)*ACC_BITS+:ACC_BITS] = lower_q;
                assign acc[((T+1)*PE+p)*ACC_BITS+:ACC_BITS] = upper_q;
            end else begin : g_one
                always_ff @(posedge clk) upper_q <= upper_old + ACC_BITS'(upper_sum);
                assign acc[(T*PE+p)*ACC_BITS+:ACC_BITS] = upper_q;
            end
        end
    end
endmodule

`default_nettype wire
