// ROM with a synchronous read of one cycle; data holds its value while en is low.
// Contents come from FILE ($readmemh, a bare name in the folder the simulation runs in). With
// VP_SYNTH defined they are a fixed pseudo-random pattern, so that one netlist stands for all weights.
// STYLE: "auto", "block" or "distributed".
`default_nettype none

`ifdef VP_SYNTH
// Mapped apart: next to carry chains Yosys' abc9 makes deep, large logic of tables in LUTs.
(* keep_hierarchy *)
`endif
module vp_rom #(
    int unsigned DEPTH = 64,
    int unsigned WIDTH = 8,
    parameter    FILE  = "",
    parameter    STYLE = "auto",
    localparam int unsigned ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  wire logic             clk,
    input  wire logic             en,
    input  wire logic [ADDR_W-1:0]    addr,
    output      logic [WIDTH-1:0] data
);
    if (DEPTH < 1 || WIDTH < 1) begin : g_check
        $error("vp_rom: DEPTH %0d and WIDTH %0d must be at least 1", DEPTH, WIDTH);
    end
    if (STYLE != "auto" && STYLE != "block" && STYLE != "distributed") begin : g_check_style
        $error("vp_rom: STYLE is %s, use auto, block or distributed", STYLE);
    end

`ifdef VP_SYNTH
    // Yosys maps an initialised memory to LUTs only under this word.
    localparam PLACE = STYLE == "distributed" ? "logic" : STYLE;
`else
    localparam PLACE = STYLE;
`endif
    (* rom_style = PLACE, ram_style = PLACE *) logic [WIDTH-1:0] mem[DEPTH];

`ifdef VP_SYNTH
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
        if (en) data <= mem[addr];
    end
endmodule

`default_nettype wire
