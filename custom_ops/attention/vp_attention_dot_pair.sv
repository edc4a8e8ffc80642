// FIELDS dot products of IN terms that share their second factor: sums[f] = sum_i a[f][i] * b[i], two products in one DSP.
// The multiplicand is hi * 2^F + lo, and up to four products are summed before the fields are parted
// (F = A_WIDTH + B_WIDTH + 2 bits hold four). The low field's sign is the borrow that the high field gets back.
// One field: one product in a DSP. b comes a cycle after a. Element (f, i) of a sits at f * IN + i. Multipliers have
// registers at their operands and two after their product.
// Latency 5 + ($clog2(ceil(IN / 4)) + 1) / 2 from a, free running.
`default_nettype none

module vp_attention_dot_pair #(
    int unsigned FIELDS  = 2,
    int unsigned IN      = 16,
    int unsigned A_WIDTH = 8,
    int unsigned B_WIDTH = 8,
    bit          B_SIGNED = 1'b1,
    localparam int unsigned SUM_WIDTH = A_WIDTH + B_WIDTH + $clog2(IN)
) (
    input  wire logic                         clk,
    input  wire logic [FIELDS*IN*A_WIDTH-1:0] a,
    input  wire logic [IN*B_WIDTH-1:0]        b,
    output      logic [FIELDS*SUM_WIDTH-1:0]  sums
);
    localparam int unsigned F = A_WIDTH + B_WIDTH + 2;
    localparam int unsigned GROUPS = (IN + 3) / 4;
    localparam int unsigned A_FIELD_W = FIELDS == 2 ? A_WIDTH + F + 1 : A_WIDTH;
    localparam int unsigned PRODUCT_W = FIELDS * F;

    logic [GROUPS*F-1:0] part_q[FIELDS];
    for (genvar g = 0; g < GROUPS; g++) begin : g_group
        localparam int unsigned N = IN - 4 * g < 4 ? IN - 4 * g : 4;
        logic signed [A_FIELD_W-1:0] a_q[N];
        // Registers of the slice, which must not become shift registers in LUTs where nothing is added.
        (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
        logic [N-1:0][PRODUCT_W-1:0] multiplied_q, product_q;
        logic signed [PRODUCT_W-1:0] total_q, total_d;
        always_comb begin
            total_d = product_q[0];
            for (int unsigned i = 1; i < N; i++) total_d = total_d + signed'(product_q[i]);
        end
        for (genvar i = 0; i < N; i++) begin : g_term
            wire logic signed [A_WIDTH-1:0] lo = a[(4*g+i)*A_WIDTH+:A_WIDTH];
            wire logic signed [B_WIDTH:0] factor = {B_SIGNED && b[(4*g+i)*B_WIDTH+B_WIDTH-1], b[(4*g+i)*B_WIDTH+:B_WIDTH]};
            if (FIELDS == 2) begin : g_two
                wire logic signed [A_WIDTH-1:0] hi = a[(IN+4*g+i)*A_WIDTH+:A_WIDTH];
                wire logic signed [A_WIDTH:0] borrow = (A_WIDTH + 1)'({1'b0, lo[A_WIDTH-1]});
                wire logic [A_WIDTH:0] top = (A_WIDTH + 1)'(hi) - borrow;
                always_ff @(posedge clk) a_q[i] <= {top, F'(lo)};
            end else begin : g_one
                always_ff @(posedge clk) a_q[i] <= lo;
            end
            always_ff @(posedge clk) begin
                multiplied_q[i] <= PRODUCT_W'(a_q[i]) * PRODUCT_W'(factor);
                product_q[i]    <= multiplied_q[i];
            end
        end
        always_ff @(posedge clk) begin
            total_q <= total_d;
            part_q[0][g*F+:F] <= total_q[F-1:0];
        end
        if (FIELDS == 2) begin : g_high
            always_ff @(posedge clk) part_q[1][g*F+:F] <= total_q[2*F-1:F] + F'(total_q[F-1]);
        end
    end
    for (genvar f = 0; f < FIELDS; f++) begin : g_field
        logic [F+$clog2(GROUPS)-1:0] total;
        vp_adder_tree #(.NUM(GROUPS), .WIDTH(F), .RADIX(2)) tree (
            .clk, .en(1'b1), .terms(part_q[f]), .sum(total)
        );
        assign sums[f*SUM_WIDTH+:SUM_WIDTH] = SUM_WIDTH'(total);
    end
endmodule

`default_nettype wire
