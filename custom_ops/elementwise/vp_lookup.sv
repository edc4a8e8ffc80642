// Op top of VitLookup: every element through one table of 2^IN_BITS entries, entry = code - smallest code.
// One copy of the table per element of a beat. Encoders have a table each, one behind the other, and frames
// of as many beats as SHAPES (vp_engine_frame) says.
`default_nettype none

module vp_lookup #(
    int unsigned SIMD      = 1,
    int unsigned IN_BITS   = 8,
    bit          IN_SIGNED = 1'b1,
    int unsigned OUT_BITS  = 8,
    int unsigned ENCODERS  = 1,
    int unsigned COUNT_W   = 1,   // of a frame's beats
    parameter logic [ENCODERS*96-1:0] SHAPES = '0,
    parameter    TABLE_FILE = "",
    parameter    STYLE     = "distributed",
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    localparam int unsigned IN_BEAT_W = SIMD * IN_BITS,
    localparam int unsigned OUT_BEAT_W = SIMD * OUT_BITS,
    localparam int unsigned IN_TDATA_W = (IN_BEAT_W + 7) / 8 * 8,
    localparam int unsigned OUT_TDATA_W = (OUT_BEAT_W + 7) / 8 * 8
) (
    input  wire logic          clk, rst_n,
    input  wire logic [IN_TDATA_W-1:0] in0_tdata,
    input  wire logic          in0_tvalid,
    output      logic          in0_tready,
    output      logic [OUT_TDATA_W-1:0] out0_tdata,
    output      logic          out0_tvalid,
    input  wire logic          out0_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic          encoder_valid,
    output      logic          encoder_ready,
    input  wire logic [33:0]   load_in,
    output      logic [33:0]   load_out
);
    if (IN_BITS < 2 || IN_BITS > 8) $error("vp_lookup: IN_BITS is %0d, it must be 2 to 8", IN_BITS);

    localparam int unsigned ENTRY_W = $clog2(ENCODERS) + IN_BITS;

    logic [IN_BEAT_W-1:0] x;
    logic [OUT_BEAT_W-1:0] y;
    logic x_valid, y_valid_q;
    wire logic advance = !y_valid_q || out0_tready;
    logic [vp_pkg::width(ENCODERS)-1:0] of;
    logic [33:0] table_chain;
    logic known;
    wire logic take = advance && known;
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .COUNT_W(COUNT_W), .FIELDS(0), .SHAPES(SHAPES), .LOADED(LOADED),
        .FILE({UNIT, "_shapes.fill"})
    ) frame (
        .clk, .rst_n, .load_in, .load_out(table_chain), .encoder, .encoder_valid, .encoder_ready,
        .value(), .of, .known, .step(take && x_valid), .count(), .last()
    );

    vp_skid #(.WIDTH(IN_BEAT_W)) skid (
        .clk, .rst_n, .in_data(in0_tdata[IN_BEAT_W-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(take)
    );
    // A copy of the table for each lane.
    logic we;
    logic [ENTRY_W-1:0] waddr;
    logic [OUT_BITS-1:0] wdata;
    vp_load_region #(.LOADED(LOADED), .DEPTH(ENCODERS << IN_BITS), .WIDTH(OUT_BITS)) region (
        .clk, .rst_n, .load_in(table_chain), .load_out, .we, .waddr, .data(wdata), .filled()
    );
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        wire logic [IN_BITS-1:0] code = x[i*IN_BITS+:IN_BITS];
        wire logic [IN_BITS-1:0] entry = {code[IN_BITS-1] ^ IN_SIGNED, code[IN_BITS-2:0]};
        vp_contents #(.LOADED(LOADED), .DEPTH(ENCODERS << IN_BITS), .WIDTH(OUT_BITS), .FILE(TABLE_FILE), .STYLE(STYLE)) codes (
            .clk, .we, .waddr, .wdata, .en(advance), .addr(ENTRY_W'({of, entry})), .data(y[i*OUT_BITS+:OUT_BITS])
        );
    end
    always_ff @(posedge clk) begin
        if (!rst_n) y_valid_q <= 1'b0;
        else if (advance) y_valid_q <= x_valid && known;
    end
    assign out0_tvalid = y_valid_q;
    assign out0_tdata  = OUT_TDATA_W'(y);
endmodule

`default_nettype wire
