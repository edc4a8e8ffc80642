// Op top of VitRequant: clip(round_half_even(x * mult * 2^-(SHIFT - left))) of every element. Multipliers come
// from a table of MULT_WORDS beats, walked in step with the stream (one word: the same for all channels). A beat enters
// where a place of the FIFO at the output is free, and its pipeline never stands still. Loaded numbers stay the same while frames are
// inside: multipliers, and with SPAN over 0 also left, by which a network shifts less than SHIFT.
`default_nettype none

module vp_stream_requant #(
    int unsigned SIMD       = 1,
    int unsigned IN_BITS    = 16,
    bit          IN_SIGNED  = 1'b1,
    int unsigned OUT_BITS   = 8,
    bit          OUT_SIGNED = 1'b1,
    int unsigned MULT_BITS  = 17,
    int unsigned MULT_WORDS = 1,
    int unsigned SHIFT      = 16,
    int unsigned SPAN       = 0,     // most of left
    parameter logic [31:0] LEFTS = '0,
    parameter    MULT_FILE  = "",
    parameter    STYLE      = "auto",
    bit          LOADED     = 1'b0,  // multipliers and left come through the load chain
    parameter    UNIT       = "",    // of a file from which simulations fill left
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
    input  wire logic [33:0]   load_in,
    output      logic [33:0]   load_out
);
    localparam int unsigned MULT_ADDR_W = vp_pkg::width(MULT_WORDS);
    localparam int unsigned ACC_W = IN_SIGNED ? IN_BITS : IN_BITS + 1;

    localparam int unsigned LEFT_W = vp_pkg::width(SPAN + 1);
    localparam int unsigned PLACES = 16;  // beats under way and waiting: more than the pipeline has stages

    logic [IN_BEAT_W-1:0] x_q;
    logic [SIMD*ACC_W-1:0] acc;
    logic [SIMD*MULT_BITS-1:0] mult;
    logic [OUT_BEAT_W-1:0] y, out_data;
    logic valid_q, y_valid;
    logic [MULT_ADDR_W-1:0] word_q;
    wire logic take = in0_tvalid && in0_tready;

    logic [33:0] chain;
    logic we;
    logic [MULT_ADDR_W-1:0] waddr;
    logic [SIMD*MULT_BITS-1:0] wdata;
    logic [31:0] left;
    vp_engine_values #(.ENCODERS(1), .FIELDS(1), .VALUES(LEFTS), .LOADED(LOADED), .FILE({UNIT, "_lefts.fill"})) lefts (
        .clk, .rst_n, .load_in, .load_out(chain), .encoder(1'b0), .value(left)
    );
    vp_load_region #(.LOADED(LOADED), .DEPTH(MULT_WORDS), .WIDTH(SIMD * MULT_BITS)) region (
        .clk, .rst_n, .load_in(chain), .load_out, .we, .waddr, .data(wdata), .filled()
    );
    vp_contents #(.LOADED(LOADED), .DEPTH(MULT_WORDS), .WIDTH(SIMD * MULT_BITS), .FILE(MULT_FILE), .STYLE(STYLE)) mults (
        .clk, .we, .waddr, .wdata, .en(1'b1), .addr(word_q), .data(mult)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            valid_q <= 1'b0;
            word_q  <= '0;
        end else begin
            valid_q <= take;
            if (take) word_q <= word_q == MULT_ADDR_W'(MULT_WORDS - 1) ? '0 : word_q + 1'b1;
        end
        x_q <= in0_tdata[IN_BEAT_W-1:0];
    end
    for (genvar i = 0; i < SIMD; i++) begin : g_extend
        if (IN_SIGNED) begin : g_signed
            assign acc[i*ACC_W+:ACC_W] = x_q[i*IN_BITS+:IN_BITS];
        end else begin : g_unsigned
            assign acc[i*ACC_W+:ACC_W] = {1'b0, x_q[i*IN_BITS+:IN_BITS]};
        end
    end
    vp_requant #(
        .LANES(SIMD), .ACC_WIDTH(ACC_W), .MULT_WIDTH(MULT_BITS), .SHIFT(SHIFT), .SPAN(SPAN),
        .OUT_WIDTH(OUT_BITS), .OUT_SIGNED(OUT_SIGNED)
    ) requant (.clk, .rst_n, .acc, .mult, .left(left[LEFT_W-1:0]), .tag(valid_q), .out(y), .out_tag(y_valid));
    vp_credit_fifo #(.WIDTH(OUT_BEAT_W), .DEPTH(PLACES), .STYLE("distributed")) results (
        .clk, .rst_n, .take, .can_take(in0_tready), .push(y_valid), .push_data(y),
        .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = OUT_TDATA_W'(out_data);
endmodule

`default_nettype wire
