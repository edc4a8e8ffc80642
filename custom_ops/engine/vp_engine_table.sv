// Constants of an engine's unit by encoder: for each frame's encoder that comes (vp_engine_tags), the value is that of the encoder
// until the unit takes it, at the frame's end. The next one then follows in the next cycle. With one encoder it is a constant that is
// always there.
// An encoder has FIELDS numbers of 32 bits; the unit uses as many bits of each as it needs, and synthesis keeps no others.
// With LOADED they come through the load chain (vp_load_region), a memory word an encoder.
`default_nettype none

module vp_engine_table #(
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
    input  wire logic             encoder_valid,
    output      logic             encoder_ready,
    output      logic [WIDTH-1:0] value,
    output      logic [TAG_W-1:0] of,             // whose the value is
    output      logic             value_valid,
    input  wire logic             value_ready
);
    logic [WIDTH-1:0] of_encoder;
    vp_engine_values #(.ENCODERS(ENCODERS), .FIELDS(FIELDS), .VALUES(VALUES), .LOADED(LOADED), .FILE(FILE)) values (
        .clk, .rst_n, .load_in, .load_out, .encoder, .value(of_encoder)
    );
    if (ENCODERS == 1) begin : g_one
        assign value         = of_encoder;
        assign of            = '0;
        assign value_valid   = 1'b1;
        assign encoder_ready = 1'b1;
    end else begin : g_several
        vp_stage #(.WIDTH(TAG_W + WIDTH)) stage (
            .clk, .rst_n, .in_data({encoder, of_encoder}), .in_valid(encoder_valid), .in_ready(encoder_ready),
            .out_data({of, value}), .out_valid(value_valid), .out_ready(value_ready)
        );
    end
endmodule

`default_nettype wire
