// Simple dual-port RAM: one write port, one read port with a synchronous read of one cycle.
// rdata holds its value while re is low; with zero it reads zero, so that sums which start at 0 need no gate
// after the RAM. Reading the address that is written in the same cycle
// returns an undefined word: do not. Contents are undefined after power-up; there is no reset.
// STYLE: "auto", "block", "distributed" or "ultra".
`default_nettype none

module vp_ram #(
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    STYLE = "auto",
    localparam int unsigned ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  wire logic             clk,
    input  wire logic             we,
    input  wire logic [ADDR_W-1:0]    waddr,
    input  wire logic [WIDTH-1:0] wdata,
    input  wire logic             re,
    input  wire logic             zero,   // with re: rdata becomes 0
    input  wire logic [ADDR_W-1:0]    raddr,
    output      logic [WIDTH-1:0] rdata
);
    if (DEPTH < 1 || WIDTH < 1) begin : g_check
        $error("vp_ram: DEPTH %0d and WIDTH %0d must be at least 1", DEPTH, WIDTH);
    end
    if (STYLE != "auto" && STYLE != "block" && STYLE != "distributed"
        && STYLE != "ultra") begin : g_check_style
        $error("vp_ram: STYLE is %s, use auto, block, distributed or ultra", STYLE);
    end

    (* ram_style = STYLE *) logic [WIDTH-1:0] mem[DEPTH];

    always_ff @(posedge clk) begin
        if (we) mem[waddr] <= wdata;
        if (re) rdata <= zero ? '0 : mem[raddr];
    end
endmodule

`default_nettype wire
