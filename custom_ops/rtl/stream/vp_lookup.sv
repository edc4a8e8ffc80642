// Op top of VitLookup: every element through the table of the frame's encoder, of 2^IN_BITS entries, entry = code - smallest
// code. One copy of the tables, one encoder's behind the other's, per element of a beat.
`default_nettype none

module vp_lookup #(
    int unsigned SIMD      = 1,
    int unsigned IN_BITS   = 8,
    bit          IN_SIGNED = 1'b1,
    int unsigned OUT_BITS  = 8,
    int unsigned ENCODERS  = 1,
    int unsigned FRAMES    = 4,   // tags that wait
    int unsigned BEAT_W    = 4,   // of a frame's beats
    parameter logic [ENCODERS*32-1:0] BEATS = 2,
    parameter    TABLE_FILE = "",
    parameter    STYLE     = "distributed",
    localparam int unsigned IN_BEAT_W = SIMD * IN_BITS,
    localparam int unsigned OUT_BEAT_W = SIMD * OUT_BITS,
    localparam int unsigned IN_TDATA_W = (IN_BEAT_W + 7) / 8 * 8,
    localparam int unsigned OUT_TDATA_W = (OUT_BEAT_W + 7) / 8 * 8
) (
    input  wire logic                   clk,
    input  wire logic                   rst_n,
    input  wire logic [IN_TDATA_W-1:0]  in0_tdata,
    input  wire logic                   in0_tvalid,
    output      logic                   in0_tready,
    output      logic [OUT_TDATA_W-1:0] out0_tdata,
    output      logic                   out0_tvalid,
    input  wire logic                   out0_tready,
    input  wire logic [7:0]             tags_in_tdata,
    input  wire logic                   tags_in_tvalid,
    output      logic                   tags_in_tready,
    output      logic [7:0]             tags_out_tdata,
    output      logic                   tags_out_tvalid,
    input  wire logic                   tags_out_tready
);
    if (IN_BITS < 2 || IN_BITS > 8) begin : g_check
        $error("vp_lookup: IN_BITS is %0d, it must be 2 to 8", IN_BITS);
    end

    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1;
    localparam int unsigned WORDS = ENCODERS << IN_BITS;
    localparam int unsigned ADDR_W = $clog2(WORDS);
    function automatic logic [ENCODERS-1:0][TAG_W-1:0] numbers();
        for (int unsigned e = 0; e < ENCODERS; e++) numbers[e] = TAG_W'(e);
    endfunction

    logic [IN_BEAT_W-1:0] x;
    logic [OUT_BEAT_W-1:0] y;
    logic x_valid, y_valid_q, known;
    logic [TAG_W-1:0] encoder;
    wire logic advance = !y_valid_q || out0_tready;

    vp_engine_frame #(
        .ENCODERS(ENCODERS), .FRAMES(FRAMES), .COUNT_W(BEAT_W), .WIDTH(TAG_W), .STEPS(BEATS), .VALUES(numbers())
    ) frame (
        .clk, .rst_n, .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid, .tags_out_tready,
        .value(encoder), .known, .step(known && x_valid && advance), .count(), .last()
    );

    vp_skid #(.WIDTH(IN_BEAT_W)) skid (
        .clk, .rst_n, .in_data(in0_tdata[IN_BEAT_W-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(known && advance)
    );
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        wire logic [IN_BITS-1:0] code = x[i*IN_BITS+:IN_BITS];
        wire logic [IN_BITS-1:0] entry = {code[IN_BITS-1] ^ IN_SIGNED, code[IN_BITS-2:0]};
        vp_rom #(.DEPTH(WORDS), .WIDTH(OUT_BITS), .FILE(TABLE_FILE), .STYLE(STYLE)) rom (
            .clk, .en(advance), .addr(ADDR_W'({encoder, entry})), .data(y[i*OUT_BITS+:OUT_BITS])
        );
    end
    always_ff @(posedge clk) begin
        if (!rst_n) y_valid_q <= 1'b0;
        else if (advance) y_valid_q <= known && x_valid;
    end
    assign out0_tvalid = y_valid_q;
    assign out0_tdata  = OUT_TDATA_W'(y);
endmodule

`default_nettype wire
