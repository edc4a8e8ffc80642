// LANES times clip(round_half_even(acc * mult * 2^-SHIFT)): signed accumulators, unsigned multipliers,
// codes of OUT_WIDTH bits, signed or unsigned. LATENCY is 3: product, shift and range check, round and
// saturate. en advances all three stages together; there is no reset, carry a valid bit beside it.
`default_nettype none

module vp_requant #(
    int unsigned LANES      = 1,
    int unsigned ACC_WIDTH  = 24,
    int unsigned MULT_WIDTH = 17,
    int unsigned SHIFT      = 16,
    int unsigned OUT_WIDTH  = 8,
    bit          OUT_SIGNED = 1'b1,
    localparam int unsigned LATENCY = 3
) (
    input  wire logic                        clk,
    input  wire logic                        en,
    input  wire logic [LANES*ACC_WIDTH-1:0]  acc,
    input  wire logic [LANES*MULT_WIDTH-1:0] mult,
    output      logic [LANES*OUT_WIDTH-1:0]  out
);
    if (LANES < 1 || ACC_WIDTH < 2 || MULT_WIDTH < 1 || OUT_WIDTH < 2 || LATENCY != 3) begin : g_check
        $error("vp_requant: LANES %0d, ACC_WIDTH %0d, MULT_WIDTH %0d, OUT_WIDTH %0d are too small",
               LANES, ACC_WIDTH, MULT_WIDTH, OUT_WIDTH);
    end

    localparam int unsigned PRODUCT_W = ACC_WIDTH + MULT_WIDTH;  // product
    localparam int unsigned NEED = SHIFT + OUT_WIDTH + 2;
    localparam int unsigned W = PRODUCT_W > NEED ? PRODUCT_W : NEED;    // product, sign-extended
    localparam int unsigned FLOOR_W = W - SHIFT;               // floor of the quotient
    localparam logic [OUT_WIDTH-1:0] MAX_OUT = OUT_SIGNED ? {1'b0, {(OUT_WIDTH - 1) {1'b1}}} : '1;
    localparam logic [OUT_WIDTH-1:0] MIN_OUT = OUT_SIGNED ? {1'b1, {(OUT_WIDTH - 1) {1'b0}}} : '0;
    // Lowest bit that must equal the sign.
    localparam int unsigned TOP = OUT_SIGNED ? OUT_WIDTH - 1 : OUT_WIDTH;

    for (genvar i = 0; i < LANES; i++) begin : g_lane
        logic signed [PRODUCT_W-1:0] product_q;
        wire logic signed [ACC_WIDTH-1:0] a = acc[i*ACC_WIDTH+:ACC_WIDTH];
        wire logic signed [MULT_WIDTH:0] m = {1'b0, mult[i*MULT_WIDTH+:MULT_WIDTH]};

        // Two zeros below the product give rounding bits to every SHIFT, 0 included.
        wire logic signed [W-1:0] wide = W'(product_q);
        wire logic [W+1:0] p = {wide, 2'b00};
        wire logic [FLOOR_W-1:0] floor = p[W+1:SHIFT+2];
        wire logic half = p[SHIFT+1];
        wire logic rest = |p[SHIFT:0];
        wire logic sign = floor[FLOOR_W-1];
        wire logic outside = floor[FLOOR_W-1:TOP] != {(FLOOR_W - TOP) {sign}};

        logic [OUT_WIDTH-1:0] low_q;
        logic up_q, over_q, under_q;

        always_ff @(posedge clk) begin
            if (en) begin
                product_q <= a * m;
                low_q     <= floor[OUT_WIDTH-1:0];
                up_q      <= half && (rest || floor[0]);
                over_q    <= !sign && outside;
                under_q   <= sign && (outside || !OUT_SIGNED);
                if (over_q || (up_q && low_q == MAX_OUT && !under_q)) out[i*OUT_WIDTH+:OUT_WIDTH] <= MAX_OUT;
                else if (under_q) out[i*OUT_WIDTH+:OUT_WIDTH] <= MIN_OUT;
                else out[i*OUT_WIDTH+:OUT_WIDTH] <= low_q + OUT_WIDTH'(up_q);
            end
        end
    end
endmodule

`default_nettype wire
