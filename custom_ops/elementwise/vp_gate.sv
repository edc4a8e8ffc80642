// Op top of VitGate: of pairs of elements, gate and value, one element each: clip(round_half_even(table[gate] * value * 2^-SHIFT)), entry =
// gate code - smallest code. A copy of the table for each pair of a beat. Encoders have a table each, one behind the other, and frames
// of as many beats as SHAPES (vp_engine_frame) says. Nothing stalls: results end in a FIFO that has places for them.
`default_nettype none

module vp_gate #(
    int unsigned SIMD       = 2,   // elements of a beat that enters
    int unsigned BITS       = 8,   // of gates and values
    int unsigned OUT_BITS   = 8,
    int unsigned TABLE_BITS = 18,
    int unsigned SHIFT      = 12,
    int unsigned ENCODERS   = 1,
    int unsigned COUNT_W    = 1,   // of a frame's beats
    parameter logic [ENCODERS*96-1:0] SHAPES = '0,
    parameter    TABLE_FILE = "",
    parameter    STYLE      = "distributed",
    bit          LOADED     = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT       = "",    // of files from which simulations fill it
    localparam int unsigned PAIRS = SIMD / 2,
    localparam int unsigned IN_TDATA_W = (SIMD * BITS + 7) / 8 * 8,
    localparam int unsigned OUT_BEAT_W = PAIRS * OUT_BITS,
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
    if (SIMD < 2 || SIMD % 2 != 0) $error("vp_gate: SIMD is %0d, it must be even", SIMD);
    if (BITS < 2 || BITS > 8) $error("vp_gate: BITS is %0d, it must be 2 to 8", BITS);
    if (OUT_BITS < 2 || SHIFT < 2 || TABLE_BITS + BITS < SHIFT + OUT_BITS)
        $error("vp_gate: OUT_BITS %0d and SHIFT %0d do not fit products of %0d bits", OUT_BITS, SHIFT, TABLE_BITS + BITS);

    localparam int unsigned ENTRY_W = $clog2(ENCODERS) + BITS;
    localparam int unsigned MULTIPLY = 3;  // cycles of vp_multiply
    localparam int unsigned PRODUCT_W = TABLE_BITS + BITS;
    localparam int unsigned FLOOR_W = PRODUCT_W - SHIFT;

    // --- a beat enters where the FIFO at the output has a place, and the frame's encoder is known ---
    logic can_take, known;
    logic [vp_pkg::width(ENCODERS)-1:0] of;
    logic [33:0] table_chain;
    wire logic take = in0_tvalid && in0_tready;
    assign in0_tready = can_take && known;
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .COUNT_W(COUNT_W), .FIELDS(0), .SHAPES(SHAPES), .LOADED(LOADED),
        .FILE({UNIT, "_shapes.fill"})
    ) frame (
        .clk, .rst_n, .load_in, .load_out(table_chain), .encoder, .encoder_valid, .encoder_ready,
        .value(), .of, .known, .step(take), .count(), .last()
    );

    // --- the table's entry, the product, rounded and clipped ---
    logic we;
    logic [ENTRY_W-1:0] waddr;
    logic [TABLE_BITS-1:0] wdata;
    vp_load_region #(.LOADED(LOADED), .DEPTH(ENCODERS << BITS), .WIDTH(TABLE_BITS)) region (
        .clk, .rst_n, .load_in(table_chain), .load_out, .we, .waddr, .data(wdata), .filled()
    );
    logic [OUT_BEAT_W-1:0] y;
    for (genvar i = 0; i < PAIRS; i++) begin : g_pair
        wire logic [BITS-1:0] gate = in0_tdata[2*i*BITS+:BITS];
        wire logic [BITS-1:0] entry = {!gate[BITS-1], gate[BITS-2:0]};
        logic [BITS-1:0] value_q;
        logic [TABLE_BITS-1:0] factor;
        logic [PRODUCT_W-1:0] product;
        vp_contents #(.LOADED(LOADED), .DEPTH(ENCODERS << BITS), .WIDTH(TABLE_BITS), .FILE(TABLE_FILE), .STYLE(STYLE)) factors (
            .clk, .we, .waddr, .wdata, .en(1'b1), .addr(ENTRY_W'({of, entry})), .data(factor)
        );
        vp_multiply #(.A_WIDTH(TABLE_BITS), .B_WIDTH(BITS)) multiply (.clk, .a(factor), .b(value_q), .product);

        wire logic [FLOOR_W-1:0] floor = product[PRODUCT_W-1:SHIFT];
        wire logic sign = floor[FLOOR_W-1];
        logic [OUT_BITS-1:0] low_q;
        logic up_q, outside_q, sign_q;
        localparam logic [OUT_BITS-1:0] LARGEST = {1'b0, {(OUT_BITS - 1) {1'b1}}};
        always_ff @(posedge clk) begin
            value_q   <= in0_tdata[(2*i+1)*BITS+:BITS];
            low_q     <= floor[OUT_BITS-1:0];
            up_q      <= product[SHIFT-1] && (|product[SHIFT-2:0] || floor[0]) && floor[OUT_BITS-1:0] != LARGEST;
            outside_q <= floor[FLOOR_W-1:OUT_BITS-1] != {(FLOOR_W - OUT_BITS + 1) {sign}};
            sign_q    <= sign;
            y[i*OUT_BITS+:OUT_BITS] <= outside_q ? LARGEST ^ {OUT_BITS{sign_q}} : low_q + OUT_BITS'(up_q);
        end
    end

    // --- out ---
    logic y_valid;
    logic [OUT_BEAT_W-1:0] result;
    vp_delay #(.WIDTH(1), .LENGTH(MULTIPLY + 3)) results (.clk, .rst_n, .in(take), .out(y_valid));
    vp_credit_fifo #(.WIDTH(OUT_BEAT_W), .DEPTH(MULTIPLY + 6)) out (
        .clk, .rst_n, .take, .can_take, .push(y_valid), .push_data(y),
        .out_data(result), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = OUT_TDATA_W'(result);
endmodule

`default_nettype wire
