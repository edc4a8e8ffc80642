// Fused token: sum over the dropped tokens of score * x, requantised. Takes the beats of dropped tokens
// (beat index, first and last token of the frame marked) and gives the BEATS beats of the fused token
// as the last dropped token passes. The sums live in a BEATS deep RAM that the next frame may use at
// once. in_ready must be asked only for beats of the last token (the only ones that produce output).
`default_nettype none

module vp_token_drop_fuse #(
    int unsigned BEATS       = 12,
    int unsigned SIMD        = 4,
    int unsigned SCORE_WIDTH = 17,
    int unsigned ACC_WIDTH   = 32,
    int unsigned MULT        = 1,
    int unsigned MULT_WIDTH  = 1,
    int unsigned SHIFT       = 16,
    int unsigned DEPTH       = 16,
    localparam int unsigned BW = BEATS > 1 ? $clog2(BEATS) : 1
) (
    input  wire logic                   clk,
    input  wire logic                   rst_n,
    input  wire logic [SIMD*16-1:0]     in_x,
    input  wire logic [SCORE_WIDTH-1:0] in_score,
    input  wire logic [BW-1:0]          in_beat,
    input  wire logic                   in_first,
    input  wire logic                   in_last,
    input  wire logic                   in_valid,   // the beat is taken in this cycle
    output      logic                   in_ready,   // room for a beat of the last token
    output      logic [SIMD*16-1:0]     out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
    localparam int unsigned CW = $clog2(DEPTH + 1);

    // Stage 1: operands. Stage 2: product, old sum. Stage 3: new sum, to the RAM and, if last, onwards.
    logic [SIMD*16-1:0] x1_q;
    logic signed [SCORE_WIDTH:0] score1_q;
    logic [BW-1:0] beat1_q, beat2_q;
    logic first1_q, first2_q, last1_q, last2_q, valid1_q, valid2_q;
    logic [3:0] valid_q;  // stage 3 and the three stages of the requantiser
    logic [SIMD*ACC_WIDTH-1:0] old, sum, sum_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            valid1_q <= 1'b0;
            valid2_q <= 1'b0;
            valid_q  <= '0;
        end else begin
            valid1_q <= in_valid;
            valid2_q <= valid1_q;
            valid_q  <= {valid_q[2:0], valid2_q && last2_q};
        end
    end
    always_ff @(posedge clk) begin
        x1_q     <= in_x;
        score1_q <= {1'b0, in_score};
        beat1_q  <= in_beat;
        beat2_q  <= beat1_q;
        first1_q <= in_first;
        first2_q <= first1_q;
        last1_q  <= in_last;
        last2_q  <= last1_q;
        if (valid2_q) sum_q <= sum;
    end
    for (genvar i = 0; i < SIMD; i++) begin : g_lane
        wire logic signed [15:0] x = x1_q[i*16+:16];
        wire logic signed [ACC_WIDTH-1:0] prior = old[i*ACC_WIDTH+:ACC_WIDTH];
        logic signed [SCORE_WIDTH+16:0] product_q;
        always_ff @(posedge clk) product_q <= x * score1_q;
        assign sum[i*ACC_WIDTH+:ACC_WIDTH] = (first2_q ? '0 : prior) + ACC_WIDTH'(product_q);
    end
    if (BEATS == 1) begin : g_register
        assign old = sum_q;
    end else if (BEATS <= 64) begin : g_lutram
        vp_ram #(.DEPTH(BEATS), .WIDTH(SIMD * ACC_WIDTH), .STYLE("distributed")) sums (
            .clk, .we(valid2_q), .waddr(beat2_q), .wdata(sum), .re(1'b1), .raddr(beat1_q), .rdata(old)
        );
    end else begin : g_block
        vp_ram #(.DEPTH(BEATS), .WIDTH(SIMD * ACC_WIDTH), .STYLE("block")) sums (
            .clk, .we(valid2_q), .waddr(beat2_q), .wdata(sum), .re(1'b1), .raddr(beat1_q), .rdata(old)
        );
    end

    logic [SIMD*16-1:0] fused;
    vp_requant #(
        .LANES(SIMD), .ACC_WIDTH(ACC_WIDTH), .MULT_WIDTH(MULT_WIDTH), .SHIFT(SHIFT), .OUT_WIDTH(16)
    ) requant (
        .clk, .en(1'b1), .acc(sum_q), .mult({SIMD{MULT_WIDTH'(MULT)}}), .out(fused)
    );

    // Room is counted when a beat starts, so the stages above never have to stop.
    logic [CW-1:0] room_q;
    logic fifo_ready;
    wire logic start = in_valid && in_last;
    wire logic leave = out_valid && out_ready;
    assign in_ready = room_q != '0;
    always_ff @(posedge clk) begin
        if (!rst_n) room_q <= CW'(DEPTH);
        else if (start && !leave) room_q <= room_q - 1'b1;
        else if (leave && !start) room_q <= room_q + 1'b1;
    end
    vp_fifo #(.WIDTH(SIMD * 16), .DEPTH(DEPTH)) fifo (
        .clk, .rst_n, .in_data(fused), .in_valid(valid_q[3]), .in_ready(fifo_ready),
        .out_data, .out_valid, .out_ready
    );
endmodule

`default_nettype wire
