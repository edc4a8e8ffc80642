// Op top of VitRotary: pairs of neighbouring elements turned by the token's angle, (a, b) to (a c - b s, b c + a s) 2^-8, rounded
// half to even and clipped. The first beats of a token are turned, the others pass unchanged. The tables, which are built in or come
// through the load chain, have words for each token, which are read again and again while the token passes: c and s of each pair, codes
// of 10 bits with 256 for 1. SHAPES says of each encoder how long its frames, tokens and words are, and where its table begins
// (vp_engine_table, its numbers those of shape_t). Nothing stalls: results end in a FIFO that has places for them.
`default_nettype none

module vp_rotary #(
    int unsigned SIMD          = 2,
    int unsigned BITS          = 8,
    int unsigned ENCODERS      = 1,
    int unsigned WORDS         = 4,      // of all tables
    int unsigned TOKEN_BEATS   = 1,      // at most, of all encoders
    int unsigned TABLE_BEATS   = 1,      // words for a token at most
    bit          PASSES        = 1'b0,   // some beats pass
    parameter logic [ENCODERS*160-1:0] SHAPES = '0,
    parameter    TABLE_FILE    = "",
    parameter    STYLE         = "distributed",  // or "block"
    int unsigned RAM_ROW       = WORDS,  // of vp_row_rom
    int unsigned LATENCY       = 1,      // of vp_row_rom
    bit          LOADED        = 1'b0,
    parameter    UNIT          = "",     // of a file from which simulations fill SHAPES
    localparam int unsigned WIDTH  = SIMD * BITS,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic              encoder_valid,
    output      logic              encoder_ready,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out
);
    if (SIMD < 2 || SIMD % 2 != 0) $error("vp_rotary: SIMD is %0d, it must be even", SIMD);
    if (BITS < 2 || BITS > 8) $error("vp_rotary: BITS is %0d, it must be 2 to 8", BITS);
    if (TABLE_BEATS < 1 || TABLE_BEATS > TOKEN_BEATS)
        $error("vp_rotary: TABLE_BEATS %0d must be 1 to %0d", TABLE_BEATS, TOKEN_BEATS);

    localparam int unsigned TURN = 10, ONE = 256, SHIFT = 8;  // bits of c and s, the code of 1
    localparam int unsigned ADDR_W = vp_pkg::width(WORDS);
    localparam int unsigned BEAT_W = vp_pkg::width(TOKEN_BEATS);
    localparam int unsigned WORD_W = vp_pkg::width(TABLE_BEATS);
    localparam int unsigned TURNS_W = SIMD * TURN;
    localparam int unsigned RAM_ROWS = (WORDS + RAM_ROW - 1) / RAM_ROW;

    // --- which encoder's frame enters ---
    typedef struct packed {
        logic [31:0] first;      // word of its table, among those of all
        logic [31:0] last;       // token's first word, in its table
        logic [31:0] last_beat;  // of a token
        logic [31:0] turned;     // beats of a token
        logic [31:0] last_word;  // for a token
    } shape_t;
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS);
    shape_t shape;
    logic [TAG_W-1:0] next;
    logic next_valid, next_ready, known, frame_end;
    logic [33:0] chain;
    vp_skid #(.WIDTH(TAG_W)) tags (
        .clk, .rst_n, .in_data(encoder), .in_valid(encoder_valid), .in_ready(encoder_ready),
        .out_data(next), .out_valid(next_valid), .out_ready(next_ready)
    );
    vp_engine_table #(
        .ENCODERS(ENCODERS), .FIELDS($bits(shape_t) / 32), .VALUES(SHAPES), .LOADED(LOADED), .FILE({UNIT, "_shapes.fill"})
    ) shapes (
        .clk, .rst_n, .load_in, .load_out(chain), .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready),
        .value(shape), .of(), .value_valid(known), .value_ready(frame_end)
    );

    // --- where the beat that enters is in its token, and its word of the table ---
    logic can_take;
    wire logic take = in0_tvalid && in0_tready;
    assign in0_tready = can_take && known;
    logic [ADDR_W-1:0] first_q, addr_q;  // the token's first word, the beat's, both in the encoder's table
    logic [BEAT_W-1:0] beat_q;
    logic [WORD_W-1:0] word_q;
    wire logic last_beat = beat_q == BEAT_W'(shape.last_beat);
    wire logic last_word = word_q == WORD_W'(shape.last_word);
    wire logic last_token = first_q == ADDR_W'(shape.last);
    wire logic [ADDR_W-1:0] following = last_token ? '0 : first_q + ADDR_W'(shape.last_word + 1);
    assign frame_end = take && last_beat && last_token;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q  <= '0;
            word_q  <= '0;
            first_q <= '0;
            addr_q  <= '0;
        end else if (take) begin
            beat_q <= last_beat ? '0 : beat_q + 1'b1;
            word_q <= last_beat || last_word ? '0 : word_q + 1'b1;
            addr_q <= last_beat ? following : last_word ? first_q : addr_q + 1'b1;
            if (last_beat) first_q <= following;
        end
    end

    // --- c and s come LATENCY cycles later; of a beat that passes they are 1 and 0 ---
    logic [WIDTH-1:0] x;
    logic [TURNS_W-1:0] row, turns;
    logic turned, x_valid;
    logic we;
    logic [vp_pkg::width(RAM_ROW)-1:0] waddr;
    logic [RAM_ROWS*TURNS_W-1:0] wdata;
    vp_load_region #(.LOADED(LOADED), .DEPTH(RAM_ROW), .WIDTH(RAM_ROWS * TURNS_W)) region (
        .clk, .rst_n, .load_in(chain), .load_out, .we, .waddr, .data(wdata), .filled()
    );
    vp_row_rom #(.LOADED(LOADED), .DEPTH(WORDS), .WIDTH(TURNS_W), .FILE(TABLE_FILE), .STYLE(STYLE), .ROW(RAM_ROW)) table_rows (
        .clk, .we, .waddr, .wdata, .addr(ADDR_W'(shape.first) + addr_q), .data(row)
    );
    vp_delay #(.WIDTH(WIDTH), .LENGTH(LATENCY)) beats (.clk, .rst_n(1'b1), .in(in0_tdata[WIDTH-1:0]), .out(x));
    vp_delay #(.WIDTH(1), .LENGTH(LATENCY)) valids (.clk, .rst_n, .in(take), .out(x_valid));
    if (PASSES) begin : g_passes
        vp_delay #(.WIDTH(1), .LENGTH(LATENCY)) turning (
            .clk, .rst_n(1'b1), .in((BEAT_W + 1)'(beat_q) < (BEAT_W + 1)'(shape.turned)), .out(turned)
        );
        assign turns = turned ? row : {(SIMD / 2) {{TURN{1'b0}}, TURN'(ONE)}};
    end else begin : g_all
        assign turned = 1'b1;
        assign turns = row;
    end

    // --- four products a pair, two sums, rounded ---
    localparam int unsigned MULTIPLY = 3;  // cycles of vp_multiply
    localparam int unsigned PRODUCT_W = BITS + TURN;
    localparam int unsigned FLOOR_W = PRODUCT_W + 1 - SHIFT;
    logic [WIDTH-1:0] y;
    for (genvar i = 0; i < SIMD; i++) begin : g_element
        localparam int unsigned OTHER = i % 2 == 0 ? i + 1 : i - 1;
        localparam int unsigned PAIR = i / 2 * 2;
        logic [PRODUCT_W-1:0] along, across;
        vp_multiply #(.A_WIDTH(BITS), .B_WIDTH(TURN)) cosine (
            .clk, .a(x[i*BITS+:BITS]), .b(turns[PAIR*TURN+:TURN]), .product(along)
        );
        vp_multiply #(.A_WIDTH(BITS), .B_WIDTH(TURN)) sine (
            .clk, .a(x[OTHER*BITS+:BITS]), .b(turns[(PAIR+1)*TURN+:TURN]), .product(across)
        );
        logic signed [PRODUCT_W:0] sum_q;
        wire logic signed [FLOOR_W-1:0] floor = FLOOR_W'(sum_q >>> SHIFT);
        wire logic up = sum_q[SHIFT-1] && (|sum_q[SHIFT-2:0] || floor[0]);
        wire logic signed [FLOOR_W:0] rounded = (FLOOR_W + 1)'(floor) + (FLOOR_W + 1)'({1'b0, up});
        wire logic sign = rounded[FLOOR_W];
        wire logic outside = rounded[FLOOR_W:BITS-1] != {(FLOOR_W - BITS + 2) {sign}};
        always_ff @(posedge clk) begin
            if (i % 2 == 0) sum_q <= (PRODUCT_W + 1)'(signed'(along)) - (PRODUCT_W + 1)'(signed'(across));
            else sum_q <= (PRODUCT_W + 1)'(signed'(along)) + (PRODUCT_W + 1)'(signed'(across));
            y[i*BITS+:BITS] <= outside ? {sign, {(BITS - 1) {!sign}}} : rounded[BITS-1:0];
        end
    end

    logic y_valid;
    logic [WIDTH-1:0] result;
    vp_delay #(.WIDTH(1), .LENGTH(MULTIPLY + 2)) results (.clk, .rst_n, .in(x_valid), .out(y_valid));
    vp_credit_fifo #(.WIDTH(WIDTH), .DEPTH(LATENCY + MULTIPLY + 5)) out (
        .clk, .rst_n, .take, .can_take, .push(y_valid), .push_data(y),
        .out_data(result), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(result);
endmodule

`default_nettype wire
