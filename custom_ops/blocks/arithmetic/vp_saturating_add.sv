// SIMD saturating sums of signed elements of BITS bits. Combinational.
`default_nettype none

module vp_saturating_add #(
    int unsigned SIMD = 1,
    int unsigned BITS = 16
) (
    input  wire logic [SIMD*BITS-1:0] a,
    input  wire logic [SIMD*BITS-1:0] b,
    output      logic [SIMD*BITS-1:0] sum
);
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        wire logic signed [BITS-1:0] x = a[i*BITS+:BITS];
        wire logic signed [BITS-1:0] y = b[i*BITS+:BITS];
        wire logic signed [BITS:0] s = (BITS + 1)'(x) + (BITS + 1)'(y);
        wire logic over = s[BITS] != s[BITS-1];
        assign sum[i*BITS+:BITS] = over ? {s[BITS], {(BITS - 1) {!s[BITS]}}} : s[BITS-1:0];
    end
endmodule

`default_nettype wire
