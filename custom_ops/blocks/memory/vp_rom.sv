// ROM with a synchronous read of READ_LATENCY cycles, a register each: en[0] reads, en[i] moves the word on to
// register i; a register holds its value while its bit is low. A pipeline that never stalls ties them high.
// Contents come from FILE ($readmemh, a bare name in the folder the simulation runs in). With
// VP_YOSYS defined they are a fixed pseudo-random pattern, so that one netlist stands for all weights; with
// VP_CONTENTS, too, they are those of FILE.
// STYLE: "auto", "block" or "distributed".
`default_nettype none

`ifdef VP_YOSYS
// Mapped apart: next to carry chains Yosys' abc9 makes deep, large logic of tables in LUTs.
(* keep_hierarchy *)
`endif
module vp_rom #(
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    FILE  = "",
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 1
) (
    input  wire logic             clk,
    input  wire logic [READ_LATENCY-1:0] en,
    input  wire logic [vp_pkg::width(DEPTH)-1:0] addr,
    output      logic [WIDTH-1:0] data
);
    if (DEPTH < 1 || WIDTH < 1) $error("vp_rom: DEPTH %0d and WIDTH %0d must be at least 1", DEPTH, WIDTH);
    if (STYLE != "auto" && STYLE != "block" && STYLE != "distributed") $error("vp_rom: STYLE is %s, use auto, block or distributed", STYLE);
    if (READ_LATENCY < 1 || READ_LATENCY > 4) $error("vp_rom: READ_LATENCY is %0d, use 1 to 4", READ_LATENCY);

`ifdef VP_YOSYS
    // Yosys maps an initialised memory to LUTs only under this word.
    localparam PLACE = STYLE == "distributed" ? "logic" : STYLE;
`else
    localparam PLACE = STYLE;
`endif
    (* rom_style = PLACE, ram_style = PLACE *) logic [WIDTH-1:0] mem[DEPTH];
    logic [WIDTH-1:0] read_q;

`ifdef VP_CONTENTS
    initial $readmemh(FILE, mem);
`elsif VP_YOSYS
    // In parts, so that no initial block runs into the loop limits of synthesis tools.
    localparam int unsigned CHUNKS = (WIDTH + 31) / 32;
    localparam int unsigned PART = CHUNKS < 2000 ? 2000 / CHUNKS : 1;
    for (genvar p = 0; p < DEPTH; p += PART) begin : g_fill
        initial begin
            logic [31:0] x;
            logic [CHUNKS*32-1:0] word;
            x = 32'h2545f491 ^ (32'h9e3779b1 * p);
            for (int unsigned i = p; i < p + PART && i < DEPTH; i++) begin
                for (int unsigned j = 0; j < CHUNKS; j++) begin
                    x = x ^ (x << 13);
                    x = x ^ (x >> 17);
                    x = x ^ (x << 5);
                    word[32*j+:32] = x;
                end
                mem[i] = word[WIDTH-1:0];
            end
        end
    end
`else
    initial $readmemh(FILE, mem);
`endif

    always_ff @(posedge clk) begin
        if (en[0]) read_q <= mem[addr];
    end

    if (READ_LATENCY == 1) begin : g_direct
        assign data = read_q;
    end else begin : g_later
        // Registers of the RAM, which must not become shift registers in LUTs.
        (* keep = vp_pkg::KEEP, shreg_extract = "no" *)
        logic [READ_LATENCY-1:1][WIDTH-1:0] later_q;
        always_ff @(posedge clk) begin
            for (int unsigned i = 1; i < READ_LATENCY; i++) begin
                if (en[i]) later_q[i] <= i == 1 ? read_q : later_q[i-1];
            end
        end
        assign data = later_q[READ_LATENCY-1];
    end
endmodule

`default_nettype wire
