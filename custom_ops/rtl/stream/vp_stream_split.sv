// Op top of VitSplit: of every TOKEN_BEATS beats the first FIRST_BEATS go to output 0, the rest to
// output 1, in order. A stalled output holds up the other one: buffering is the work of the FIFOs behind.
`default_nettype none

module vp_stream_split #(
    int unsigned WIDTH       = 8,
    int unsigned TOKEN_BEATS = 2,
    int unsigned FIRST_BEATS = 1,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic              rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    output      logic [PADDED-1:0] out1_tdata,
    output      logic              out1_tvalid,
    input  wire logic              out1_tready
);
    if (FIRST_BEATS < 1 || FIRST_BEATS >= TOKEN_BEATS) begin : g_check
        $error("vp_stream_split: FIRST_BEATS %0d must be 1 to %0d", FIRST_BEATS, TOKEN_BEATS - 1);
    end
    localparam int unsigned BEAT_W = $clog2(TOKEN_BEATS);

    logic [WIDTH-1:0] x, y0, y1;
    logic x_valid, ready0, ready1, second_q;
    logic [BEAT_W-1:0] beat_q;
    wire logic x_ready = second_q ? ready1 : ready0;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q   <= '0;
            second_q <= 1'b0;
        end else if (x_valid && x_ready) begin
            if (beat_q == BEAT_W'(TOKEN_BEATS - 1)) begin
                beat_q   <= '0;
                second_q <= 1'b0;
            end else begin
                beat_q <= beat_q + 1'b1;
                if (beat_q == BEAT_W'(FIRST_BEATS - 1)) second_q <= 1'b1;
            end
        end
    end

    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(x_ready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage0 (
        .clk, .rst_n, .in_data(x), .in_valid(x_valid && !second_q), .in_ready(ready0),
        .out_data(y0), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    vp_stage #(.WIDTH(WIDTH)) stage1 (
        .clk, .rst_n, .in_data(x), .in_valid(x_valid && second_q), .in_ready(ready1),
        .out_data(y1), .out_valid(out1_tvalid), .out_ready(out1_tready)
    );
    assign out0_tdata = PADDED'(y0);
    assign out1_tdata = PADDED'(y1);
endmodule

`default_nettype wire
