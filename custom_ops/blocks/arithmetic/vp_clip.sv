// N signed codes of BITS bits, clipped to the range of codes that have fewer bits: BITS - fewer, 2 at least. A set enters every cycle,
// with a tag that leaves beside its codes, two cycles later. Never stalls; reset clears the tags.
`default_nettype none

module vp_clip #(
    int unsigned N        = 1,
    int unsigned BITS     = 16,
    int unsigned TAG_BITS = 1,
    localparam int unsigned FEWER_W = vp_pkg::width(BITS)
) (
    input  wire logic                clk, rst_n,
    input  wire logic [N*BITS-1:0]   in,
    input  wire logic [FEWER_W-1:0]  fewer,
    input  wire logic [TAG_BITS-1:0] tag,
    output      logic [N*BITS-1:0]   out,
    output      logic [TAG_BITS-1:0] out_tag
);
    vp_delay #(.WIDTH(TAG_BITS), .LENGTH(2)) tags (.clk, .rst_n, .in(tag), .out(out_tag));

    // Bits that must be equal to the sign: those above the ones that are left.
    logic [BITS-1:0] above;
    always_comb for (int unsigned b = 0; b < BITS; b++) above[b] = 32'(fewer) + b + 1 >= BITS;
    for (genvar i = 0; i < N; i++) begin : g_code
        logic [BITS-1:0] code_q, own_above;
        vp_copy #(.WIDTH(BITS)) copy (.clk, .in(above), .out(own_above));
        wire logic sign = code_q[BITS-1];
        wire logic outside = |((code_q ^ {BITS{sign}}) & own_above);
        always_ff @(posedge clk) begin
            code_q <= in[i*BITS+:BITS];
            for (int unsigned b = 0; b < BITS; b++) out[i*BITS+b] <= own_above[b] ? sign : outside ? !sign : code_q[b];
        end
    end
endmodule

`default_nettype wire
