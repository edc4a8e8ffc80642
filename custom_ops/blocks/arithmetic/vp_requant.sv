// LANES times clip(round_half_even(acc * mult * 2^-SHIFT)): signed accumulators, unsigned multipliers, codes of OUT_WIDTH
// bits, signed or unsigned. A set enters every cycle, with a tag that leaves beside its codes: who uses it need not know
// LATENCY, 4 + the parts of the products (vp_multiply), which are one where ACC_WIDTH is at most 27, or 18 with a
// MULT_WIDTH over 17. Stages: product, shift and range check, round and saturate. Never stalls; reset clears the tags.
// With SPAN over 0 a set has a shift of its own, SHIFT - left, left at most SPAN; that takes a cycle more.
`default_nettype none

module vp_requant #(
    int unsigned LANES      = 1,
    int unsigned ACC_WIDTH  = 24,
    int unsigned MULT_WIDTH = 17,
    int unsigned SHIFT      = 16,
    int unsigned SPAN       = 0,
    int unsigned OUT_WIDTH  = 8,
    bit          OUT_SIGNED = 1'b1,
    int unsigned TAG_BITS   = 1,
    localparam int unsigned CUT = MULT_WIDTH > 17 ? 17 : 26,  // of vp_multiply
    localparam int unsigned LEFT_W = vp_pkg::width(SPAN + 1),
    localparam int unsigned MULTIPLY = 2 + (ACC_WIDTH + CUT - 2) / CUT,  // cycles of it
    localparam int unsigned LATENCY = MULTIPLY + 2 + (SPAN > 0 ? 1 : 0)
) (
    input  wire logic                        clk, rst_n,
    input  wire logic [LANES*ACC_WIDTH-1:0]  acc,
    input  wire logic [LANES*MULT_WIDTH-1:0] mult,
    input  wire logic [LEFT_W-1:0]           left,
    input  wire logic [TAG_BITS-1:0]         tag,
    output      logic [LANES*OUT_WIDTH-1:0]  out,
    output      logic [TAG_BITS-1:0]         out_tag
);
    if (LANES < 1 || ACC_WIDTH < 2 || MULT_WIDTH < 1 || OUT_WIDTH < 2)
        $error("vp_requant: LANES %0d, ACC_WIDTH %0d, MULT_WIDTH %0d, OUT_WIDTH %0d are too small",
               LANES, ACC_WIDTH, MULT_WIDTH, OUT_WIDTH);

    localparam int unsigned PRODUCT_W = ACC_WIDTH + MULT_WIDTH + SPAN;  // shifted product, without the second of two equal signs
    localparam int unsigned NEED = SHIFT + OUT_WIDTH + 2;
    localparam int unsigned W = PRODUCT_W > NEED ? PRODUCT_W : NEED;    // product, sign-extended
    localparam int unsigned FLOOR_W = W - SHIFT;               // floor of the quotient
    localparam logic [OUT_WIDTH-1:0] MAX_OUT = OUT_SIGNED ? {1'b0, {(OUT_WIDTH - 1) {1'b1}}} : '1;
    localparam logic [OUT_WIDTH-1:0] MIN_OUT = OUT_SIGNED ? {1'b1, {(OUT_WIDTH - 1) {1'b0}}} : '0;
    // Lowest bit that must equal the sign.
    localparam int unsigned TOP = OUT_SIGNED ? OUT_WIDTH - 1 : OUT_WIDTH;

    vp_delay #(.WIDTH(TAG_BITS), .LENGTH(LATENCY)) tags (.clk, .rst_n, .in(tag), .out(out_tag));

    logic [LEFT_W-1:0] left_then;
    vp_delay #(.WIDTH(LEFT_W), .LENGTH(MULTIPLY - 1)) lefts (.clk, .rst_n(1'b1), .in(left), .out(left_then));

    for (genvar i = 0; i < LANES; i++) begin : g_lane
        logic [ACC_WIDTH+MULT_WIDTH:0] exact;
        logic [PRODUCT_W:0] product;
        vp_multiply #(.A_WIDTH(ACC_WIDTH), .B_WIDTH(MULT_WIDTH + 1)) multiply (
            .clk, .a(acc[i*ACC_WIDTH+:ACC_WIDTH]), .b({1'b0, mult[i*MULT_WIDTH+:MULT_WIDTH]}), .product(exact)
        );
        if (SPAN > 0) begin : g_shift
            logic [LEFT_W-1:0] own_left;
            vp_copy #(.WIDTH(LEFT_W)) copy (.clk, .in(left_then), .out(own_left));
            always_ff @(posedge clk) product <= (PRODUCT_W + 1)'(signed'(exact)) << own_left;
        end else begin : g_fixed
            assign product = exact;
        end

        // Two zeros below the product give rounding bits to every SHIFT, 0 included.
        wire logic signed [W-1:0] wide = W'(signed'(product[PRODUCT_W-1:0]));
        wire logic [W+1:0] p = {wide, 2'b00};
        wire logic [FLOOR_W-1:0] floor = p[W+1:SHIFT+2];
        wire logic half = p[SHIFT+1];
        wire logic rest = |p[SHIFT:0];
        wire logic sign = floor[FLOOR_W-1];
        wire logic outside = floor[FLOOR_W-1:TOP] != {(FLOOR_W - TOP) {sign}};
        wire logic [OUT_WIDTH-1:0] low = floor[OUT_WIDTH-1:0];

        logic [OUT_WIDTH-1:0] low_q;
        logic up_q, over_q, under_q;
        wire logic [OUT_WIDTH-1:0] kept = over_q ? MAX_OUT : under_q ? MIN_OUT : low_q;

        always_ff @(posedge clk) begin
            low_q   <= low;
            up_q    <= half && (rest || low[0]) && low != MAX_OUT;  // the largest code stays, in range or not
            over_q  <= !sign && outside;
            under_q <= sign && (outside || !OUT_SIGNED);
            out[i*OUT_WIDTH+:OUT_WIDTH] <= kept + OUT_WIDTH'(up_q && !over_q && !under_q);
        end
    end
endmodule

`default_nettype wire
