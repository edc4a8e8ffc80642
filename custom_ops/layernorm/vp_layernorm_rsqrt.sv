// From a token's S1 and S2 to what its elements are scaled with:
// y = clip(round_half_even((gain X - offset) 2^-(8 + e + SHIFT)))
// with v = D S2 - S1^2 + eps, (r, f) = reciprocal square root of v (table seed, two Newton steps), e = f + top - 25,
// rc = (r mult) >> 16, gain = D rc, offset = S1 rc. One multiplier does all products in turn, those of two tokens at a
// time: a token takes 45 steps, of which none waits, and 36 more cycles pass at least until the next one starts.
// A token starts with go, which comes only while free. Its sums, eps, mult and top stay for four more cycles, of which the
// last but one is near_end.
`default_nettype none

module vp_layernorm_rsqrt #(
    int unsigned  D         = 48,
    int unsigned  S1_WIDTH  = 22,
    int unsigned  S2_WIDTH  = 37,
    int unsigned  E_WIDTH   = 5,
    parameter     SEED_FILE = ""
) (
    input  wire logic                       clk, rst_n,
    input  wire logic                       go,
    output      logic                       free,
    input  wire logic [S1_WIDTH-1:0]        s1,
    input  wire logic [S2_WIDTH-1:0]        s2,
    input  wire logic [50:0]                eps,
    input  wire logic [16:0]                mult,
    input  wire logic [E_WIDTH-1:0]         top,
    output      logic                       near_end,
    output      logic [36:0]                gain,
    output      logic [52:0]                offset,
    output      logic [E_WIDTH-1:0]         e,
    output      logic                       done    // for a cycle
);
    localparam logic [26:0] THREE_22 = 27'd3 << 22;
    localparam logic [26:0] THREE_24 = 27'd3 << 24;

    // step_q[i]: a token is in step i. Operands are chosen in the steps 0, 1, 2, 11, 15, 19, 23, 27, 31, 35, 39 and 40,
    // so that a token may start 36 or more than 40 cycles after the one before, and never needs the multiplier with it.
    logic [44:0] step_q;
    logic early_q;  // a token is in a step up to 33
    logic free_q;
    always_ff @(posedge clk) begin
        free_q <= !(go || early_q || (|step_q[38:35]));
        if (!rst_n) begin
            step_q  <= '0;
            early_q <= 1'b0;
        end else begin
            step_q  <= {step_q[43:0], go};
            early_q <= go || (early_q && !step_q[33]);
        end
    end
    assign free     = free_q;
    assign near_end = step_q[2];

    // The multiplier: signed operands, two partial products, their results, the sum. A product is in product_q four
    // steps after the step that chose its operands.
    logic signed [26:0] a_q;
    logic [26:0] b_q;
    logic [36:0] high_m_q, high_q;
    // Registers of the slice, which must not become shift registers in LUTs.
    (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
    logic [44:0] low_m_q, low_q;
    logic [52:0] product_q;
    always_ff @(posedge clk) begin
        low_m_q   <= a_q * $signed({1'b0, b_q[16:0]});
        high_m_q  <= a_q * $signed(b_q[26:17]);
        low_q     <= low_m_q;
        high_q    <= high_m_q;
        product_q <= {high_q[35:0], 17'd0} + 53'($signed(low_q));
    end

    // v, then v / 4^e = m with 22 fraction bits: shifted by multiples of 16 bits, then by less.
    logic [51:0] v_q;
    logic [37:0] w, w_q;
    logic [1:0] coarse_q;
    logic [2:0] fine, fine_q;
    logic [23:0] m, m_q;
    logic [12:0] r0;
    logic [E_WIDTH-1:0] top_q, e_q;
    wire logic [51:0] addend = step_q[5] ? {product_q[25:0], 26'd0} : product_q[51:0] ^ {52{step_q[6]}};
    always_comb begin
        w = 38'((v_q << {coarse_q, 4'd0}) >> 14);
        fine = '0;
        for (int i = 7; i >= 0; i--) if (w[36-2*i+:2] != 2'd0) fine = 3'(i);
        m = 24'((w_q << {fine_q, 1'b0}) >> 14);
    end
    always_ff @(posedge clk) begin
        if (step_q[3]) top_q <= top;
        if (step_q[3]) v_q <= 52'(eps);
        else if (|step_q[6:4]) v_q <= v_q + addend + 52'(step_q[6]);
        coarse_q <= (|v_q[51:36]) ? 2'd0 : (|v_q[35:20]) ? 2'd1 : (|v_q[19:4]) ? 2'd2 : 2'd3;
        w_q      <= w;
        fine_q   <= fine;
        if (step_q[9]) begin
            m_q <= m;
            e_q <= top_q - E_WIDTH'({coarse_q, fine_q});
        end
    end
    vp_rom #(.DEPTH(256), .WIDTH(13), .FILE(SEED_FILE), .STYLE("distributed")) seeds (
        .clk, .en(step_q[9]), .addr(m[23:16]), .data(r0)
    );

    // Operands: what is known a step before goes through a register, chosen two steps before. Factors out of a product
    // are less than 2^26, so its bits above them are 0.
    typedef enum logic [2:0] {S2_LOW, S2_HIGH, S1, R0, M, R1, RC} a_known_t;
    typedef enum logic [2:0] {B_D, B_S1, B_R0, B_MULT, B_S1_HELD} b_known_t;
    typedef enum logic [1:0] {A_KNOWN, A_R1, A_R2, A_RC} a_from_t;
    typedef enum logic [2:0] {B_KNOWN, B_R0_SQUARE, B_T, B_R1, B_R1_SQUARE} b_from_t;
    a_known_t a_known_from_q;
    b_known_t b_known_from_q;
    a_from_t a_from_q;
    b_from_t b_from_q;
    logic [26:0] a_known, a_known_q, b_known, b_known_q, a, b;
    logic [S1_WIDTH-1:0] s1_q;
    logic [16:0] mult_q;
    logic [18:0] r1_q;
    logic second_q;
    logic [26:0] t;  // 3 - m r^2, of the first or second Newton step
    wire logic [51:0] s2_wide = 52'(s2);
    always_comb begin
        case (a_known_from_q)
            S2_HIGH: a_known = {1'b0, s2_wide[51:26]};
            S1:      a_known = 27'($signed(s1));
            R0:      a_known = 27'(r0);
            M:       a_known = 27'(m_q);
            R1:      a_known = 27'(r1_q);
            RC:      a_known = product_q[42:16];
            default: a_known = {1'b0, s2_wide[25:0]};
        endcase
        case (b_known_from_q)
            B_S1:      b_known = 27'($signed(s1));
            B_R0:      b_known = 27'(r0);
            B_MULT:    b_known = 27'(mult_q);
            B_S1_HELD: b_known = 27'($signed(s1_q));
            default:   b_known = 27'(D);
        endcase
        t = (second_q ? THREE_24 : THREE_22) - (second_q ? product_q[48:22] : product_q[50:24]);
        case (a_from_q)
            A_R1:    a = product_q[43:17];
            A_R2:    a = product_q[45:19];
            A_RC:    a = product_q[42:16];
            default: a = a_known_q;
        endcase
        case (b_from_q)
            B_R0_SQUARE: b = product_q[26:0];
            B_T:         b = t;
            B_R1:        b = product_q[43:17];
            B_R1_SQUARE: b = product_q[38:12];
            default:     b = b_known_q;
        endcase
    end
    always_ff @(posedge clk) begin
        a_known_from_q <= go ? S2_HIGH : step_q[0] ? S1 : step_q[9] || step_q[17] ? R0
                          : step_q[13] || step_q[25] ? M : step_q[29] ? R1 : step_q[38] ? RC : S2_LOW;
        b_known_from_q <= step_q[0] ? B_S1 : step_q[9] ? B_R0 : step_q[33] ? B_MULT : step_q[38] ? B_S1_HELD : B_D;
        a_from_q       <= step_q[22] ? A_R1 : step_q[34] ? A_R2 : step_q[38] ? A_RC : A_KNOWN;
        b_from_q       <= step_q[14] ? B_R0_SQUARE : step_q[18] || step_q[30] ? B_T : step_q[22] ? B_R1
                          : step_q[26] ? B_R1_SQUARE : B_KNOWN;
        second_q       <= step_q[30];
        a_known_q      <= a_known;
        b_known_q      <= b_known;
        a_q            <= a;
        b_q            <= b;
        if (step_q[3]) begin
            s1_q   <= s1;
            mult_q <= mult;
        end
        if (step_q[23]) r1_q <= product_q[35:17];
    end

    // gain comes a step before offset.
    logic [36:0] gain_q;
    always_ff @(posedge clk) gain_q <= product_q[36:0];
    assign gain   = gain_q;
    assign offset = product_q;
    assign e      = e_q;
    assign done   = step_q[44];

`ifdef VERILATOR
    wire logic [11:0] chosen = {
        step_q[40:39], step_q[35], step_q[31], step_q[27], step_q[23], step_q[19], step_q[15], step_q[11], step_q[2:0]
    };
    always_ff @(posedge clk) begin
        if (rst_n && !$onehot0(chosen)) $fatal(1, "vp_layernorm_rsqrt: two tokens want the multiplier");
    end
`endif
endmodule

`default_nettype wire
