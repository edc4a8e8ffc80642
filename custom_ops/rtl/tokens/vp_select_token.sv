// Op top of VitSelectToken: passes token INDEX of every TOKENS tokens (TOKEN_BEATS beats each) and takes
// the others without waiting for its output.
`default_nettype none

module vp_select_token #(
    int unsigned WIDTH       = 8,
    int unsigned TOKENS      = 2,
    int unsigned TOKEN_BEATS = 1,
    int unsigned INDEX       = 0,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic              rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready
);
    if (INDEX >= TOKENS || TOKEN_BEATS < 1) begin : g_check
        $error("vp_select_token: INDEX %0d must be below TOKENS %0d", INDEX, TOKENS);
    end
    localparam int unsigned FRAME = TOKENS * TOKEN_BEATS;
    localparam int unsigned FIRST = INDEX * TOKEN_BEATS;
    localparam int unsigned BEAT_W = FRAME > 1 ? $clog2(FRAME) : 1;

    logic [WIDTH-1:0] x, y;
    logic x_valid, y_ready;
    logic [BEAT_W-1:0] beat_q;
    logic chosen_q;  // beat_q lies in the token
    wire logic x_ready = !chosen_q || y_ready;
    wire logic [BEAT_W-1:0] next = beat_q == BEAT_W'(FRAME - 1) ? '0 : beat_q + 1'b1;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q   <= '0;
            chosen_q <= FIRST == 0;
        end else if (x_valid && x_ready) begin
            beat_q <= next;
            if (next == BEAT_W'(FIRST)) chosen_q <= 1'b1;
            else if (beat_q == BEAT_W'(FIRST + TOKEN_BEATS - 1)) chosen_q <= 1'b0;
        end
    end

    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(x_ready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage (
        .clk, .rst_n, .in_data(x), .in_valid(x_valid && chosen_q), .in_ready(y_ready),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
