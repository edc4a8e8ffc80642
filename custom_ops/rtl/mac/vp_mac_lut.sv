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
    input  wire logic                          acc_first,  // a cycle before acc
    output      logic [TOKENS*PE*ACC_BITS-1:0] acc
);
    localparam int unsigned PAIR = SIMD / CHAIN;                       // elements of a position, 1 or 2
    localparam int unsigned XS = X_SIGNED ? X_BITS : X_BITS + 1;
    localparam int unsigned SUM_BITS = XS + $clog2(SIMD);              // of the result of a cascade
    localparam int unsigned LEVELS = $clog2(W_BITS);

    // Bits of a node of planes on level l; whether the top node there is the sign bit's plane alone.
    function automatic int unsigned node_bits(int unsigned l);
        node_bits = SUM_BITS + (l == 0 ? 0 : (1 << l) < W_BITS ? 1 << l : W_BITS);
    endfunction
    function automatic bit sign_alone(int unsigned l);
        sign_alone = ((W_BITS - 1) >> l) << l == W_BITS - 1;
    endfunction

    if (LATENCY != CHAIN + 2 + LEVELS) begin : g_check_latency
        $error("vp_mac_lut: LATENCY %0d must be %0d", LATENCY, CHAIN + 2 + LEVELS);
    end
    if (SIMD % CHAIN != 0 || PAIR > 2 || W_BITS < 2) begin : g_check
        $error("vp_mac_lut: CHAIN %0d must be SIMD %0d or half of it, W_BITS %0d at least 2",
               CHAIN, SIMD, W_BITS);
    end

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
            // --- a cascade for each bit of the weights ---
            logic [W_BITS*SUM_BITS-1:0] plane;
            for (genvar j = 0; j < W_BITS; j++) begin : g_plane
                for (genvar i = 0; i < CHAIN; i++) begin : g_position
                    localparam int unsigned W = XS + $clog2((i + 1) * PAIR);
                    wire logic choose_one = w_q[(p*SIMD+i*PAIR)*W_BITS+j];
                    wire logic choose_other = PAIR == 2 && w_q[(p*SIMD+i*PAIR+PAIR-1)*W_BITS+j];
                    logic signed [XS:0] term;
                    always_comb begin
                        unique case ({choose_other, choose_one})
                            2'b00: term = '0;
                            2'b01: term = one[i];
                            2'b10: term = other[i];
                            2'b11: term = both[i];
                        endcase
                    end
                    logic signed [W-1:0] inverse_q;
                    if (i == 0) begin : g_first
                        always_ff @(posedge clk) inverse_q <= ~W'(term);
                    end else begin : g_next
                        always_ff @(posedge clk) inverse_q <= W'(g_position[i-1].inverse_q) - W'(term);
                    end
                end
                assign plane[j*SUM_BITS+:SUM_BITS] = g_position[CHAIN-1].inverse_q;
            end

            // --- planes by weight: node n of level l holds planes n 2^l and up ---
            for (genvar l = 0; l <= LEVELS; l++) begin : g_level
                localparam int unsigned COUNT = (W_BITS + (1 << l) - 1) >> l;
                localparam int unsigned W = node_bits(l);
                logic [COUNT*W-1:0] value;
                if (l == 0) begin : g_planes
                    assign value = plane;
                end else begin : g_add
                    localparam int unsigned BELOW = (W_BITS + (1 << (l - 1)) - 1) >> (l - 1);
                    localparam int unsigned V = node_bits(l - 1);
                    localparam int unsigned SHIFT = 1 << (l - 1);
                    for (genvar n = 0; n < COUNT; n++) begin : g_node
                        wire logic signed [V-1:0] low = g_level[l-1].value[2*n*V+:V];
                        logic signed [W-1:0] node_q;
                        if (2 * n + 1 == BELOW) begin : g_single
                            always_ff @(posedge clk) node_q <= W'(low);
                        end else begin : g_pair
                            wire logic signed [V-1:0] high = g_level[l-1].value[(2*n+1)*V+:V];
                            wire logic signed [W-SHIFT-1:0] low_part = (W - SHIFT)'(low >>> SHIFT);
                            wire logic signed [W-SHIFT-1:0] high_part = (W - SHIFT)'(high);
                            localparam bit MINUS = 2 * n + 2 == BELOW && sign_alone(l - 1);
                            always_ff @(posedge clk) begin
                                node_q[SHIFT-1:0] <= low[SHIFT-1:0];
                                node_q[W-1:SHIFT] <= MINUS ? low_part + ~high_part : low_part - ~high_part;
                            end
                        end
                        assign value[n*W+:W] = node_q;
                    end
                end
            end

            vp_mac_sum #(.NUM(1), .WIDTH(node_bits(LEVELS) + 1), .ACC_BITS(ACC_BITS)) sum (
                .clk, .terms({~g_level[LEVELS].value, 1'b0}), .first(acc_first),
                .acc(acc[(t*PE+p)*ACC_BITS+:ACC_BITS])
            );
        end
    end
endmodule

`default_nettype wire
