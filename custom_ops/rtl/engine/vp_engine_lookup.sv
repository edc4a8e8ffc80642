// A constant by encoder, without a register: for values that are used where the encoder is at hand. With one encoder it is that
// encoder's constant.
`default_nettype none

module vp_engine_lookup #(
    int unsigned ENCODERS = 12,
    int unsigned WIDTH    = 8,
    parameter logic [ENCODERS*WIDTH-1:0] VALUES = '0,  // the first encoder's lowest
    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1
) (
    input  wire logic [TAG_W-1:0] encoder,
    output      logic [WIDTH-1:0] value
);
    always_comb begin
        value = '0;
        for (int unsigned e = 0; e < ENCODERS; e++) begin
            if (ENCODERS == 1 || encoder == TAG_W'(e)) value |= VALUES[e*WIDTH+:WIDTH];
        end
    end
endmodule

`default_nettype wire
