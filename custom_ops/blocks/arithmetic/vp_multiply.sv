// Signed product of A_WIDTH by B_WIDTH bits in DSP slices of 27 x 18, each with registers of its operands and two after its
// product. a is cut into PARTS of CUT bits, the highest signed, the others not; their products are added from the lowest
// upwards, a register after each sum. LATENCY is 2 + PARTS cycles. Never stalls, no reset.
`default_nettype none

module vp_multiply #(
    int unsigned A_WIDTH = 27,
    int unsigned B_WIDTH = 18,
    localparam int unsigned CUT = B_WIDTH > 18 ? 17 : 26,
    localparam int unsigned PARTS = (A_WIDTH + CUT - 2) / CUT,
    localparam int unsigned LATENCY = 2 + PARTS
) (
    input  wire logic                       clk,
    input  wire logic [A_WIDTH-1:0]         a,
    input  wire logic [B_WIDTH-1:0]         b,
    output      logic [A_WIDTH+B_WIDTH-1:0] product
);
    if (A_WIDTH < 2 || B_WIDTH < 2 || B_WIDTH > 27)
        $error("vp_multiply: A_WIDTH %0d must be 2 or more, B_WIDTH %0d 2 to 27", A_WIDTH, B_WIDTH);

    for (genvar i = 0; i < PARTS; i++) begin : g_part
        localparam int unsigned WIDTH = i == PARTS - 1 ? A_WIDTH - i * CUT : CUT;    // bits of the part
        localparam int unsigned SIGNED_W = i == PARTS - 1 ? WIDTH : WIDTH + 1;
        localparam int unsigned WAIT = i > 0 ? i - 1 : 0;                             // for the sum below
        localparam int unsigned PRODUCT_W = SIGNED_W + B_WIDTH;

        logic [WIDTH-1:0] part;
        logic [B_WIDTH-1:0] factor;
        logic signed [SIGNED_W-1:0] a_q;
        logic signed [B_WIDTH-1:0] b_q;
        // Registers of the slice, which must not become shift registers in LUTs with a delay that follows.
        (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
        logic signed [PRODUCT_W-1:0] m_q, p_q;
        vp_delay #(.WIDTH(WIDTH + B_WIDTH), .LENGTH(WAIT)) operands (
            .clk, .rst_n(1'b1), .in({a[i*CUT+:WIDTH], b}), .out({part, factor})
        );
        always_ff @(posedge clk) begin
            a_q <= SIGNED_W'(part);
            b_q <= factor;
            m_q <= a_q * b_q;
            p_q <= m_q;
        end

        // sum: of the parts up to this one, without the CUT low bits of every part before
        localparam int unsigned SUM_W = PRODUCT_W + (i > 0 ? 1 : 0);
        logic signed [SUM_W-1:0] sum;
        if (i == 0) begin : g_lowest
            assign sum = p_q;
        end else begin : g_next
            localparam int unsigned BELOW_W = CUT + 1 + B_WIDTH + (i > 1 ? 1 : 0);
            logic [SUM_W-1:0] sum_q;
            wire logic signed [BELOW_W-1:0] below = g_part[i-1].sum;
            always_ff @(posedge clk) sum_q <= SUM_W'(p_q) + SUM_W'(below >>> CUT);
            assign sum = sum_q;
        end
        if (i == PARTS - 1) begin : g_top
            assign product[A_WIDTH+B_WIDTH-1:i*CUT] = sum[A_WIDTH+B_WIDTH-1-i*CUT:0];
        end else begin : g_low
            vp_delay #(.WIDTH(CUT), .LENGTH(PARTS - 1 - i)) low (
                .clk, .rst_n(1'b1), .in(sum[CUT-1:0]), .out(product[i*CUT+:CUT])
            );
        end
    end
endmodule

`default_nettype wire
