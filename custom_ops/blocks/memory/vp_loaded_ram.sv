// vp_ram whose contents are loaded before the first frame (docs/loading.md). Simulations may fill it at time 0 instead: under
// the plusarg +fill it reads FILE ($readmemh, a bare name in the folder the simulation runs in; "" for none). Reads of 4 cycles
// leave time for a vp_row_ram, up to 18 rows; those never stall.
`default_nettype none

module vp_loaded_ram #(
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    FILE  = "",
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 1,
    localparam int unsigned ADDR_W = vp_pkg::width(DEPTH)
) (
    input  wire logic             clk,
    input  wire logic             we,
    input  wire logic [ADDR_W-1:0] waddr,
    input  wire logic [WIDTH-1:0] wdata,
    input  wire logic [READ_LATENCY-1:0] re,
    input  wire logic [ADDR_W-1:0] raddr,
    output      logic [WIDTH-1:0] rdata
);
    localparam int unsigned ROW = 4096;  // words of an UltraRAM

    if (STYLE == "ultra" && READ_LATENCY == 4 && DEPTH > 4 * ROW && DEPTH <= 18 * ROW) begin : g_rows
        vp_row_ram #(.DEPTH(DEPTH), .WIDTH(WIDTH), .STYLE(STYLE), .ROW(ROW)) ram (
            .clk, .we, .waddr, .wdata, .re(re[0]), .raddr, .rdata
        );
`ifndef SYNTHESIS
        if (FILE != "") begin : g_fill
            logic [WIDTH-1:0] words[DEPTH];
            initial if ($test$plusargs("fill") != 0) begin
                $readmemh(FILE, words);
                for (int unsigned i = 0; i < DEPTH; i++) ram.g_rows.g_ultra.mem[i%ROW][i/ROW*WIDTH+:WIDTH] = words[i];
            end
        end
`endif
    end else begin : g_whole
        vp_ram #(.DEPTH(DEPTH), .WIDTH(WIDTH), .STYLE(STYLE), .READ_LATENCY(READ_LATENCY)) ram (
            .clk, .we, .waddr, .wdata, .re, .zero(1'b0), .raddr, .rdata
        );
`ifndef SYNTHESIS
        if (FILE != "") begin : g_fill
            initial if ($test$plusargs("fill") != 0) $readmemh(FILE, ram.mem);
        end
`endif
    end
endmodule

`default_nettype wire
