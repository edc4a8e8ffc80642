// Some lanes of LayerNorm: the RAM of their codes, the scale of the token that passes, the lanes. Results come
// RAM_LATENCY + 8 cycles after their raddr. load[i] says that the token whose scale stands at the inputs is the one
// whose first beat can be in stage i of the lanes from the next cycle on (vp_layernorm_lane says which).
`default_nettype none

module vp_layernorm_lanes #(
    int unsigned LANES       = 4,
    int unsigned OUT_WIDTH   = 8,
    int unsigned SHIFT       = 12,
    int unsigned MOST_E      = 25,
    int unsigned WORDS       = 64,
    int unsigned RAM_LATENCY = 1,    // 1: LUTRAM, 2: block RAM
    bit          CENTRED     = 1'b1,  // 0: the offset is 0
    localparam int unsigned E_WIDTH = $clog2(MOST_E + 1),
    localparam int unsigned ADDR_W = $clog2(WORDS)
) (
    input  wire logic                       clk,
    input  wire logic                       we,
    input  wire logic [ADDR_W-1:0]          waddr,
    input  wire logic [LANES*16-1:0]        wdata,
    input  wire logic [ADDR_W-1:0]          raddr,
    input  wire logic [5:0]                 load,
    input  wire logic [36:0]                gain,
    input  wire logic [52:0]                offset,
    input  wire logic [E_WIDTH-1:0]         e,
    output      logic [LANES*OUT_WIDTH-1:0] y
);
    logic [LANES*16-1:0] x;
    if (RAM_LATENCY == 1) begin : g_lutram
        vp_ram #(.DEPTH(WORDS), .WIDTH(LANES * 16), .STYLE("distributed")) codes (
            .clk, .we, .waddr, .wdata, .re(1'b1), .zero(1'b0), .raddr, .rdata(x)
        );
    end else begin : g_block
        vp_ram #(.DEPTH(WORDS), .WIDTH(LANES * 16), .STYLE("block"), .READ_LATENCY(2)) codes (
            .clk, .we, .waddr, .wdata, .re(2'b11), .zero(1'b0), .raddr, .rdata(x)
        );
    end

    logic [36:0] gain_q;
    logic [52:0] offset_q;
    logic [MOST_E-1:0] mask_q;
    logic [E_WIDTH-4:0] coarse_q;
    logic [2:0] fine_q;
    always_ff @(posedge clk) begin
        if (load[0]) gain_q <= gain;
        if (load[4]) begin
            for (int unsigned i = 0; i < MOST_E; i++) mask_q[i] <= i < 32'(e);
            coarse_q <= e[E_WIDTH-1:3];
        end
        if (load[5]) fine_q <= e[2:0];
    end

    if (CENTRED) begin : g_offset
        always_ff @(posedge clk) begin
            if (load[2]) offset_q[25:0] <= offset[25:0];
            if (load[3]) offset_q[52:26] <= offset[52:26];
        end
    end else begin : g_no_offset
        assign offset_q = '0;
    end

    for (genvar i = 0; i < LANES; i++) begin : g_lane
        vp_layernorm_lane #(.OUT_WIDTH(OUT_WIDTH), .SHIFT(SHIFT), .MOST_E(MOST_E), .CENTRED(CENTRED)) lane (
            .clk, .x(x[i*16+:16]), .gain(gain_q), .offset(offset_q), .mask(mask_q),
            .coarse(coarse_q), .fine(fine_q), .y(y[i*OUT_WIDTH+:OUT_WIDTH])
        );
    end
endmodule

`default_nettype wire
