// Op top of VitLookup: every element through one table of 2^IN_BITS entries, entry = code - smallest code.
// One copy of the table per element of a beat.
`default_nettype none

module vp_lookup #(
    int unsigned SIMD      = 1,
    int unsigned IN_BITS   = 8,
    bit          IN_SIGNED = 1'b1,
    int unsigned OUT_BITS  = 8,
    parameter    TABLE_FILE = "",
    parameter    STYLE     = "distributed",
    localparam int unsigned IN_BEAT_W = SIMD * IN_BITS,
    localparam int unsigned OUT_BEAT_W = SIMD * OUT_BITS,
    localparam int unsigned IN_TDATA_W = (IN_BEAT_W + 7) / 8 * 8,
    localparam int unsigned OUT_TDATA_W = (OUT_BEAT_W + 7) / 8 * 8
) (
    input  wire logic          clk,
    input  wire logic          rst_n,
    input  wire logic [IN_TDATA_W-1:0] in0_tdata,
    input  wire logic          in0_tvalid,
    output      logic          in0_tready,
    output      logic [OUT_TDATA_W-1:0] out0_tdata,
    output      logic          out0_tvalid,
    input  wire logic          out0_tready
);
    if (IN_BITS < 2 || IN_BITS > 8) begin : g_check
        $error("vp_lookup: IN_BITS is %0d, it must be 2 to 8", IN_BITS);
    end

    logic [IN_BEAT_W-1:0] x;
    logic [OUT_BEAT_W-1:0] y;
    logic x_valid, y_valid_q;
    wire logic advance = !y_valid_q || out0_tready;

    vp_skid #(.WIDTH(IN_BEAT_W)) skid (
        .clk, .rst_n, .in_data(in0_tdata[IN_BEAT_W-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(advance)
    );
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        wire logic [IN_BITS-1:0] code = x[i*IN_BITS+:IN_BITS];
        wire logic [IN_BITS-1:0] entry = {code[IN_BITS-1] ^ IN_SIGNED, code[IN_BITS-2:0]};
        vp_rom #(.DEPTH(1 << IN_BITS), .WIDTH(OUT_BITS), .FILE(TABLE_FILE), .STYLE(STYLE)) rom (
            .clk, .en(advance), .addr(entry), .data(y[i*OUT_BITS+:OUT_BITS])
        );
    end
    always_ff @(posedge clk) begin
        if (!rst_n) y_valid_q <= 1'b0;
        else if (advance) y_valid_q <= x_valid;
    end
    assign out0_tvalid = y_valid_q;
    assign out0_tdata  = OUT_TDATA_W'(y);
endmodule

`default_nettype wire
