// Sum of CHAIN products (a + d) b in a cascade of DSP48E2, the operands of position i i cycles after those of
// position 0: p = offset + sum_i (a[i] + d[i]) b[i]. The offset is RND. With ACCUMULATE the last DSP48E2 adds
// its own P too, but in steps with first set; RND is then left out.
// LATENCY from the operands of position 0 to p is CHAIN + 3; first comes with them. Never stalls, no reset.
`default_nettype none

module vp_mac_chain #(
    int unsigned           CHAIN      = 4,
    parameter logic [47:0] RND        = 48'd0,
    bit                    ACCUMULATE = 1'b0
) (
    input  wire logic                clk,
    input  wire logic [CHAIN*27-1:0] a,
    input  wire logic [CHAIN*27-1:0] d,
    input  wire logic [CHAIN*18-1:0] b,
    input  wire logic                first,
    output      logic [47:0]         p
);
    localparam logic [1:0] W_ZERO = 2'b00, W_P = 2'b01, W_RND = 2'b10;
    localparam logic [3:0] XY_M = 4'b0101;

    if (CHAIN < 1) $error("vp_mac_chain: CHAIN %0d must be at least 1", CHAIN);

    logic [CHAIN:0][47:0] cascade;
    assign cascade[0] = '0;

    // The last position adds P CHAIN + 2 cycles after its operands; its OPMODE register takes one of them.
    logic [CHAIN:0] first_q;
    always_ff @(posedge clk) first_q <= {first_q[CHAIN-1:0], first};
    wire logic [1:0] w_last = ACCUMULATE ? (first_q[CHAIN] ? W_ZERO : W_P) : W_ZERO;

    logic [CHAIN-1:0][47:0] sum;
    for (genvar i = 0; i < CHAIN; i++) begin : g_position
        wire logic signed [26:0] a_i = a[i*27+:27];
        wire logic [2:0] z = i == 0 ? 3'b000 : 3'b001;
        wire logic [1:0] w = ACCUMULATE && i == CHAIN - 1 ? w_last : !ACCUMULATE && i == 0 ? W_RND : W_ZERO;
        /* verilator lint_off PINCONNECTEMPTY */
        DSP48E2 #(
            .AMULTSEL("AD"), .USE_MULT("MULTIPLY"), .ACASCREG(1), .ADREG(1), .ALUMODEREG(0), .AREG(1),
            .BCASCREG(2), .BREG(2), .CARRYINREG(0), .CARRYINSELREG(0), .CREG(0), .DREG(1), .INMODEREG(0),
            .MREG(1), .OPMODEREG(1), .PREG(1), .RND(ACCUMULATE || i > 0 ? 48'd0 : RND)
        ) dsp (
            .CLK(clk), .A(30'(a_i)), .B(b[i*18+:18]), .C(48'd0), .D(d[i*27+:27]),
            .PCIN(cascade[i]), .ACIN(30'd0), .BCIN(18'd0), .CARRYIN(1'b0), .CARRYCASCIN(1'b0),
            .MULTSIGNIN(1'b0), .OPMODE({w, z, XY_M}), .INMODE(5'b00100), .ALUMODE(4'b0000), .CARRYINSEL(3'b000),
            .CEA1(1'b1), .CEA2(1'b1), .CEAD(1'b1), .CEALUMODE(1'b1), .CEB1(1'b1), .CEB2(1'b1), .CEC(1'b1),
            .CECARRYIN(1'b1), .CECTRL(1'b1), .CED(1'b1), .CEINMODE(1'b1), .CEM(1'b1), .CEP(1'b1),
            .RSTA(1'b0), .RSTALLCARRYIN(1'b0), .RSTALUMODE(1'b0), .RSTB(1'b0), .RSTC(1'b0), .RSTCTRL(1'b0),
            .RSTD(1'b0), .RSTINMODE(1'b0), .RSTM(1'b0), .RSTP(1'b0),
            .P(sum[i]), .PCOUT(cascade[i+1]), .ACOUT(), .BCOUT(), .XOROUT(), .CARRYOUT(), .CARRYCASCOUT(),
            .MULTSIGNOUT(), .OVERFLOW(), .PATTERNBDETECT(), .PATTERNDETECT(), .UNDERFLOW()
        );
        /* verilator lint_on PINCONNECTEMPTY */
    end
    assign p = sum[CHAIN-1];
endmodule

`default_nettype wire
