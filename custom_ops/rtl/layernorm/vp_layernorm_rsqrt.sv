// From a token's S1 and S2 to what its elements are scaled with:
// y = clip(round_half_even((gain X - offset) 2^-(8 + e + SHIFT)))
// with v = D S2 - S1^2 + EPS, (r, e) = reciprocal square root of v (table seed, two Newton steps),
// rc = (r MULT) >> 16, gain = D rc, offset = S1 rc. One multiplier, three cycles long, does all products in
// turn: 36 cycles a token, whatever the data. in_ready comes two cycles after in_valid is first seen.
`default_nettype none

module vp_layernorm_rsqrt #(
    int unsigned  D         = 48,
    int unsigned  S1_WIDTH  = 22,
    int unsigned  S2_WIDTH  = 37,
    logic [51:0]  EPS       = 52'd1,
    int unsigned  MULT      = 65536,
    parameter     SEED_FILE = ""
) (
    input  wire logic                       clk,
    input  wire logic                       rst_n,
    input  wire logic signed [S1_WIDTH-1:0] s1,
    input  wire logic [S2_WIDTH-1:0]        s2,
    input  wire logic                       in_valid,
    output      logic                       in_ready,
    output      logic [36:0]                gain,
    output      logic signed [52:0]         offset,
    output      logic [4:0]                 e,
    output      logic                       out_valid,
    input  wire logic                       out_ready
);
    localparam int unsigned STEPS = 36;
    localparam logic [51:0] THREE_22 = 52'd3 << 22;
    localparam logic [51:0] THREE_24 = 52'd3 << 24;

    logic [5:0] step_q;
    logic out_valid_q;
    wire logic hold = (step_q == 6'd0 && !in_valid) || (step_q == 6'd34 && out_valid_q && !out_ready);
    wire logic ce = !hold;

    // The multiplier: operands, two partial products, sum. A product is in product_q three steps
    // after the step that chose its operands.
    logic [25:0] a_q, a_d, b_q, b_d;
    logic signed [44:0] low_q;
    logic signed [36:0] high_q;
    logic [51:0] product_q;
    always_ff @(posedge clk) begin
        if (ce) begin
            a_q       <= a_d;
            b_q       <= b_d;
            low_q     <= $signed({1'b0, a_q}) * $signed({1'b0, b_q[16:0]});
            high_q    <= $signed({1'b0, a_q}) * $signed({1'b0, b_q[25:17]});
            product_q <= {high_q[34:0], 17'd0} + 52'(unsigned'(low_q[43:0]));
        end
    end

    logic [51:0] v_q, t;
    logic [4:0] e_q, e_d;
    logic [25:0] magnitude_q, magnitude;
    logic [18:0] r1_q;
    logic [12:0] r0;
    logic negative_q;
    wire logic [51:0] s2_wide = 52'(s2);
    wire logic [23:0] m = v_q[51:28];  // from step 9 on: v / 4^e, 22 fraction bits
    wire logic [4:0] left = 5'd25 - e_q;

    vp_rom #(.DEPTH(256), .WIDTH(13), .FILE(SEED_FILE), .STYLE("distributed")) seeds (
        .clk, .en(step_q == 6'd9), .addr(m[23:16]), .data(r0)
    );

    always_comb begin
        magnitude = 26'(unsigned'(s1[S1_WIDTH-1] ? -s1 : s1));
        t = (step_q == 6'd16) ? THREE_22 - {24'd0, product_q[51:24]} : THREE_24 - {22'd0, product_q[51:22]};
        e_d = '0;
        for (int i = 0; i < 26; i++) if (v_q[2*i+:2] != 2'd0) e_d = 5'(i);
    end

    always_comb begin
        a_d = a_q;
        b_d = b_q;
        case (step_q)
            6'd0: begin a_d = magnitude; b_d = magnitude; end
            6'd1: begin a_d = 26'(D); b_d = s2_wide[25:0]; end
            6'd2: b_d = s2_wide[51:26];
            6'd10: begin a_d = 26'(r0); b_d = 26'(r0); end
            6'd13: begin a_d = 26'(m); b_d = product_q[25:0]; end          // r0^2
            6'd16: begin a_d = 26'(r0); b_d = t[25:0]; end                 // p1
            6'd19: begin a_d = 26'(product_q[35:17]); b_d = 26'(product_q[35:17]); end  // r1
            6'd22: begin a_d = 26'(m); b_d = product_q[37:12]; end         // r1^2
            6'd25: begin a_d = 26'(r1_q); b_d = t[25:0]; end               // p2
            6'd28: begin a_d = product_q[44:19]; b_d = 26'(MULT); end      // r2
            6'd31: begin a_d = product_q[41:16]; b_d = 26'(D); end         // rc
            6'd32: b_d = magnitude_q;
            default: ;
        endcase
    end
    assign in_ready = step_q == 6'd2;

    always_ff @(posedge clk) begin
        if (ce) begin
            case (step_q)
                6'd0: begin magnitude_q <= magnitude; negative_q <= s1[S1_WIDTH-1]; end
                6'd3: v_q <= EPS - product_q;
                6'd4: v_q <= v_q + product_q;
                6'd5: v_q <= v_q + {product_q[25:0], 26'd0};
                6'd6: e_q <= e_d;
                6'd7: v_q <= v_q << {left[4:3], 4'd0};
                6'd8: v_q <= v_q << {left[2:0], 1'b0};
                6'd19: r1_q <= product_q[35:17];
                6'd34: gain <= product_q[36:0];
                6'd35: begin
                    offset <= negative_q ? -$signed({1'b0, product_q}) : $signed({1'b0, product_q});
                    e      <= e_q;
                end
                default: ;
            endcase
        end
    end

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            step_q      <= '0;
            out_valid_q <= 1'b0;
        end else begin
            if (ce) step_q <= step_q == 6'(STEPS - 1) ? '0 : step_q + 1'b1;
            if (step_q == 6'd35) out_valid_q <= 1'b1;
            else if (out_ready) out_valid_q <= 1'b0;
        end
    end
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
