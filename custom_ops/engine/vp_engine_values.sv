// Numbers by encoder, FIELDS of 32 bits each, in the cycle of the encoder: for values that are used where the encoder is at hand. With
// one encoder they are that encoder's. With LOADED they come through the load chain (vp_load_region), a memory word an encoder.
`default_nettype none

module vp_engine_values #(
    int unsigned ENCODERS = 12,
    int unsigned FIELDS   = 1,
    parameter logic [ENCODERS*FIELDS*32-1:0] VALUES = '0,  // the first encoder's lowest
    bit          LOADED   = 1'b0,
    parameter    FILE     = "",                            // simulations fill it from there
    localparam int unsigned WIDTH = 32 * FIELDS,
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic             clk, rst_n,
    input  wire logic [33:0]      load_in,
    output      logic [33:0]      load_out,
    input  wire logic [TAG_W-1:0] encoder,
    output      logic [WIDTH-1:0] value
);
    logic we;
    logic [TAG_W-1:0] waddr;
    logic [WIDTH-1:0] data;
    vp_load_region #(.LOADED(LOADED), .DEPTH(ENCODERS), .WIDTH(WIDTH)) region (
        .clk, .rst_n, .load_in, .load_out, .we, .waddr, .data, .filled()
    );
    if (LOADED) begin : g_loaded
        (* ram_style = "distributed" *) logic [WIDTH-1:0] mem[ENCODERS];
        always @(posedge clk) if (we) mem[waddr] <= data;  // no always_ff: a simulation fills mem, too
        assign value = mem[ENCODERS > 1 ? encoder : '0];
`ifndef SYNTHESIS
        if (FILE != "") begin : g_fill
            initial if ($test$plusargs("fill") != 0) $readmemh(FILE, mem);
        end
`endif
    end else begin : g_built_in
        always_comb begin
            value = '0;
            // No multiplexers, of which synthesis would make sets of the register that follows, behind its enable.
            for (int unsigned e = 0; e < ENCODERS; e++) begin
                value |= VALUES[e*WIDTH+:WIDTH] & {WIDTH{ENCODERS == 1 || encoder == TAG_W'(e)}};
            end
        end
    end
endmodule

`default_nettype wire
