// A ROM (vp_rom), or with LOADED a RAM (vp_loaded_ram) that a hop of the load chain writes; both are read alike.
`default_nettype none

module vp_contents #(
    bit          LOADED = 1'b0,
    int unsigned DEPTH  = 64,
    int unsigned WIDTH  = 8,
    parameter    FILE   = "",
    parameter    STYLE  = "auto",
    int unsigned READ_LATENCY = 1,
    localparam int unsigned ADDR_W = vp_pkg::width(DEPTH)
) (
    input  wire logic                    clk,
    input  wire logic                    we,
    input  wire logic [ADDR_W-1:0]       waddr,
    input  wire logic [WIDTH-1:0]        wdata,
    input  wire logic [READ_LATENCY-1:0] en,
    input  wire logic [ADDR_W-1:0]       addr,
    output      logic [WIDTH-1:0]        data
);
    if (LOADED) begin : g_loaded
        vp_loaded_ram #(.DEPTH(DEPTH), .WIDTH(WIDTH), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(READ_LATENCY)) ram (
            .clk, .we, .waddr, .wdata, .re(en), .raddr(addr), .rdata(data)
        );
    end else begin : g_built_in
        vp_rom #(.DEPTH(DEPTH), .WIDTH(WIDTH), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(READ_LATENCY)) rom (
            .clk, .en, .addr, .data
        );
    end
endmodule

`default_nettype wire
