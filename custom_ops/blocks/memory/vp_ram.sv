// Simple dual-port RAM: one write port, one read port with a synchronous read of READ_LATENCY cycles, a register
// each: the RAM's own, and those that block RAM and UltraRAM have at their outputs. re[0] reads, re[i] moves the
// word on to register i; a register holds its value while its bit is low. A pipeline that never stalls ties them
// high. With zero the RAM reads zero, so that sums which start at 0 need no gate after the RAM. Reading the address
// that is written in the same cycle returns an undefined word: do not. Contents are undefined after power-up; there
// is no reset. STYLE: "auto", "block", "distributed" or "ultra".
`default_nettype none

module vp_ram #(
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 1,
    localparam int unsigned ADDR_W = vp_pkg::width(DEPTH)
) (
    input  wire logic             clk,
    input  wire logic             we,
    input  wire logic [ADDR_W-1:0] waddr,
    input  wire logic [WIDTH-1:0] wdata,
    input  wire logic [READ_LATENCY-1:0] re,
    input  wire logic             zero,   // with re[0]: the word read is 0
    input  wire logic [ADDR_W-1:0] raddr,
    output      logic [WIDTH-1:0] rdata
);
    if (DEPTH < 1 || WIDTH < 1) $error("vp_ram: DEPTH %0d and WIDTH %0d must be at least 1", DEPTH, WIDTH);
    if (STYLE != "auto" && STYLE != "block" && STYLE != "distributed" && STYLE != "ultra")
        $error("vp_ram: STYLE is %s, use auto, block, distributed or ultra", STYLE);
    if (READ_LATENCY < 1 || READ_LATENCY > 4) $error("vp_ram: READ_LATENCY is %0d, use 1 to 4", READ_LATENCY);

    (* ram_style = STYLE *) logic [WIDTH-1:0] mem[DEPTH];
    logic [WIDTH-1:0] read_q;

    always @(posedge clk) begin  // no always_ff: a simulation fills mem, too (vp_loaded_ram)
        if (we) mem[waddr] <= wdata;
        if (re[0]) read_q <= zero ? '0 : mem[raddr];
    end

    if (READ_LATENCY == 1) begin : g_direct
        assign rdata = read_q;
    end else begin : g_later
        // Registers of the RAM, which must not become shift registers in LUTs.
        (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
        logic [READ_LATENCY-1:1][WIDTH-1:0] later_q;
        always_ff @(posedge clk) begin
            for (int unsigned i = 1; i < READ_LATENCY; i++) begin
                if (re[i]) later_q[i] <= i == 1 ? read_q : later_q[i-1];
            end
        end
        assign rdata = later_q[READ_LATENCY-1];
    end
endmodule

`default_nettype wire
