// Constants of an engine's unit by encoder: for each frame's encoder that comes (vp_engine_tags), the value is that of the encoder
// until the unit takes it, at the frame's end. The next one then follows in the next cycle. With one encoder it is a constant that is
// always there.
`default_nettype none

module vp_engine_table #(
    int unsigned ENCODERS = 12,
    int unsigned WIDTH    = 8,
    parameter logic [ENCODERS*WIDTH-1:0] VALUES = '0,  // the first encoder's lowest
    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [TAG_W-1:0] encoder,
    input  wire logic             encoder_valid,
    output      logic             encoder_ready,
    output      logic [WIDTH-1:0] value,
    output      logic             value_valid,
    input  wire logic             value_ready
);
    if (ENCODERS == 1) begin : g_one
        assign value         = VALUES;
        assign value_valid   = 1'b1;
        assign encoder_ready = 1'b1;
    end else begin : g_several
        logic [WIDTH-1:0] of_encoder;
        always_comb begin
            of_encoder = '0;
            // No multiplexers, of which synthesis would make sets of the register, behind its enable.
            for (int unsigned e = 0; e < ENCODERS; e++) of_encoder |= VALUES[e*WIDTH+:WIDTH] & {WIDTH{encoder == TAG_W'(e)}};
        end
        vp_stage #(.WIDTH(WIDTH)) stage (
            .clk, .rst_n, .in_data(of_encoder), .in_valid(encoder_valid), .in_ready(encoder_ready),
            .out_data(value), .out_valid(value_valid), .out_ready(value_ready)
        );
    end
endmodule

`default_nettype wire
