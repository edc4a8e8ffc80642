// DSP48E2, the subset that the multiply-accumulate chain uses: P = W + Z + AD B with AD = D + A[26:0], where
// Z is 0 or PCIN and W is 0, P or RND (UG579, tables 2-4 to 2-7). A, D and AD are registered once, B twice,
// M, P and OPMODE once; every clock enable is on, every reset off. Anything else stops the simulation.
// The name is that of the primitive: Verilator gets this model, Yosys (VP_YOSYS) the empty black box, and
// every other tool nothing, since it brings its own.
`default_nettype none

`ifdef VERILATOR
`define VP_DSP48E2
`elsif VP_YOSYS
`define VP_DSP48E2
`endif

`ifdef VP_DSP48E2
`ifndef VERILATOR
(* blackbox *)
`endif
module DSP48E2 #(
    parameter              AMULTSEL      = "A",
    parameter              USE_MULT      = "MULTIPLY",
    parameter int          ACASCREG      = 1,
    parameter int          ADREG         = 1,
    parameter int          ALUMODEREG    = 1,
    parameter int          AREG          = 1,
    parameter int          BCASCREG      = 1,
    parameter int          BREG          = 1,
    parameter int          CARRYINREG    = 1,
    parameter int          CARRYINSELREG = 1,
    parameter int          CREG          = 1,
    parameter int          DREG          = 1,
    parameter int          INMODEREG     = 1,
    parameter int          MREG          = 1,
    parameter int          OPMODEREG     = 1,
    parameter int          PREG          = 1,
    parameter logic [47:0] RND           = 48'd0
) (
    input  wire logic CLK,
    input  wire logic CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE,
    input  wire logic CEM, CEP,
    input  wire logic RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP,
    input  wire logic [29:0] A, ACIN,
    input  wire logic [17:0] B, BCIN,
    input  wire logic [47:0] C, PCIN,
    input  wire logic [26:0] D,
    input  wire logic [8:0] OPMODE,
    input  wire logic [4:0] INMODE,
    input  wire logic [3:0] ALUMODE,
    input  wire logic [2:0] CARRYINSEL,
    input  wire logic CARRYIN, CARRYCASCIN, MULTSIGNIN,
    output      logic [29:0] ACOUT,
    output      logic [17:0] BCOUT,
    output      logic [47:0] P, PCOUT,
    output      logic [7:0] XOROUT,
    output      logic [3:0] CARRYOUT,
    output      logic CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, PATTERNBDETECT, PATTERNDETECT, UNDERFLOW
);
`ifdef VERILATOR
    if (AMULTSEL != "AD" || USE_MULT != "MULTIPLY" || ADREG != 1 || AREG != 1 || BREG != 2 || DREG != 1
        || MREG != 1 || OPMODEREG != 1 || PREG != 1) begin : g_check
        $error("DSP48E2: AMULTSEL %s, BREG %0d or another attribute is not modelled", AMULTSEL, BREG);
    end
    wire logic enabled = &{CEA1, CEA2, CEAD, CEB1, CEB2, CECTRL, CED, CEM, CEP};
    wire logic reset = |{RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP};
    wire logic known = enabled && !reset && INMODE == 5'b00100 && ALUMODE == 4'b0000 && CARRYINSEL == 3'b000
        && !CARRYIN && OPMODE[8:7] != 2'b11 && OPMODE[6:5] == 2'b00 && OPMODE[3:0] == 4'b0101;

    logic signed [26:0] a_q, d_q, ad_q;
    logic signed [17:0] b1_q, b2_q;
    logic signed [44:0] m_q;
    logic [8:0] opmode_q;
    logic [47:0] p_q;
    wire logic [47:0] z = opmode_q[4] ? PCIN : 48'd0;
    wire logic [47:0] w = opmode_q[7] ? p_q : opmode_q[8] ? RND : 48'd0;
    always_ff @(posedge CLK) begin
        a_q      <= A[26:0];
        d_q      <= D;
        ad_q     <= d_q + a_q;
        b1_q     <= B;
        b2_q     <= b1_q;
        m_q      <= ad_q * b2_q;
        opmode_q <= OPMODE;
        p_q      <= z + w + 48'(m_q);
        if (!known) $fatal(1, "DSP48E2: OPMODE %b, INMODE %b or another control is not modelled", OPMODE, INMODE);
    end
    assign P     = p_q;
    assign PCOUT = p_q;
`endif
endmodule
`undef VP_DSP48E2
`endif

`default_nettype wire
