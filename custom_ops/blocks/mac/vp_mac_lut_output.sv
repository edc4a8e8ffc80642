// One output of vp_mac_lut for one token: SIMD products a cycle. Pairs of weight bits choose among the two activations
// of a position, their sum and zero, a cascade of CHAIN positions for each bit of the weights, and the results of the
// cascades are added by weight. Operands of position i come i cycles after those of position 0. LATENCY from the
// operands of position 0 to acc is CHAIN + 1 + clog2(W_BITS). Never stalls, no reset.
`default_nettype none

module vp_mac_lut_output #(
    int unsigned SIMD     = 4,
    int unsigned XS       = 8,   // bits of an activation as a signed number
    int unsigned W_BITS   = 4,
    int unsigned ACC_BITS = 24,
    int unsigned CHAIN    = 2
) (
    input  wire logic                           clk,
    input  wire logic signed [CHAIN-1:0][XS:0]  one,
    input  wire logic signed [CHAIN-1:0][XS:0]  other,
    input  wire logic signed [CHAIN-1:0][XS:0]  both,
    input  wire logic [SIMD*W_BITS-1:0]         w,
    input  wire logic                           acc_first,  // a cycle before acc
    output      logic [ACC_BITS-1:0]            acc
);
    localparam int unsigned PAIR = SIMD / CHAIN;            // elements of a position, 1 or 2
    localparam int unsigned SUM_BITS = XS + $clog2(SIMD);   // of the result of a cascade
    localparam int unsigned LEVELS = $clog2(W_BITS);

    // Bits of a node of planes on level l; whether the top node there is the sign bit's plane alone.
    function automatic int unsigned node_bits(int unsigned l);
        node_bits = SUM_BITS + (l == 0 ? 0 : (1 << l) < W_BITS ? 1 << l : W_BITS);
    endfunction
    function automatic bit sign_alone(int unsigned l);
        sign_alone = ((W_BITS - 1) >> l) << l == W_BITS - 1;
    endfunction

    // --- a cascade for each bit of the weights ---
    logic [W_BITS*SUM_BITS-1:0] plane;
    for (genvar j = 0; j < W_BITS; j++) begin : g_plane
        for (genvar i = 0; i < CHAIN; i++) begin : g_position
            localparam int unsigned W = XS + $clog2((i + 1) * PAIR);
            wire logic choose_one = w[i*PAIR*W_BITS+j];
            wire logic choose_other = PAIR == 2 && w[(i*PAIR+PAIR-1)*W_BITS+j];
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
        .clk, .terms({~g_level[LEVELS].value, 1'b0}), .first(acc_first), .acc
    );
endmodule

`default_nettype wire
