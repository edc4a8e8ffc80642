// Last step of attention: O = clip(round_half_even(acc * floor(RECIP_NUM / Z) * 2^-RECIP_SHIFT)), SIMD
// channels per beat. Accumulators wait in a FIFO of DEPTH channel groups while their row's reciprocal is
// divided, then pass ceil(SIMD / KEY_GROUPS) multipliers, channels in order. room says that a whole item (CHANNEL_GROUPS
// groups) fits; take reserves it. Z must be at least 255.
`default_nettype none

module vp_attention_norm #(
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned KEY_GROUPS          = 17,
    int unsigned SIMD        = 8,
    int unsigned DEPTH       = 64,
    int unsigned ACC_WIDTH   = 24,
    int unsigned Z_WIDTH     = 16,
    int unsigned OUT_WIDTH   = 8,
    logic [63:0] RECIP_NUM   = 64'd1,
    int unsigned RECIP_SHIFT = 0,
    int unsigned RECIP_BITS  = 1   // quotient bits a cycle
) (
    input  wire logic                      clk,
    input  wire logic                      rst_n,
    output      logic                      room,
    input  wire logic                      take,
    input  wire logic                      acc_valid,
    input  wire logic [SIMD*ACC_WIDTH-1:0] acc,
    input  wire logic                      z_valid,
    input  wire logic [Z_WIDTH-1:0]        z,
    output      logic [SIMD*OUT_WIDTH-1:0] out_data,
    output      logic                      out_valid,
    input  wire logic                      out_ready
);
    localparam int unsigned LANES = (SIMD + KEY_GROUPS - 1) / KEY_GROUPS;
    localparam int unsigned SERIAL = (SIMD + LANES - 1) / LANES;
    localparam int unsigned ITEMS = (DEPTH + CHANNEL_GROUPS - 1) / CHANNEL_GROUPS;
    localparam int unsigned FILL_W = $clog2(DEPTH + 1);
    localparam int unsigned CHANNEL_GROUP_W = CHANNEL_GROUPS > 1 ? $clog2(CHANNEL_GROUPS) : 1;
    localparam int unsigned SERIAL_W = SERIAL > 1 ? $clog2(SERIAL) : 1;
    localparam int unsigned NUM_WIDTH = Z_WIDTH + 25 < 40 ? Z_WIDTH + 25 : 40;

    logic [FILL_W-1:0] free_q;
    logic [SIMD*ACC_WIDTH-1:0] head;
    logic head_valid, load, unused_acc_ready, unused_z_ready;
    logic [Z_WIDTH-1:0] den;
    logic [24:0] quotient, recip;
    logic den_valid, den_ready, quotient_valid, quotient_ready, recip_valid;
    logic [CHANNEL_GROUP_W-1:0] group_q;
    wire logic last_group = group_q == CHANNEL_GROUP_W'(CHANNEL_GROUPS - 1);

    // Two more than the reservations: beats that are between the RAM and the register at the output.
    vp_fifo #(.WIDTH(SIMD * ACC_WIDTH), .DEPTH(DEPTH + 2), .STYLE("distributed")) groups (
        .clk, .rst_n, .in_data(acc), .in_valid(acc_valid), .in_ready(unused_acc_ready),
        .out_data(head), .out_valid(head_valid), .out_ready(load)
    );
    vp_fifo #(.WIDTH(Z_WIDTH), .DEPTH(ITEMS + 2), .STYLE("distributed")) sums (
        .clk, .rst_n, .in_data(z), .in_valid(z_valid), .in_ready(unused_z_ready),
        .out_data(den), .out_valid(den_valid), .out_ready(den_ready)
    );
    vp_divide #(.NUM_WIDTH(NUM_WIDTH), .DEN_WIDTH(Z_WIDTH), .QUOT_WIDTH(25), .BITS(RECIP_BITS)) divide (
        .clk, .rst_n, .num(RECIP_NUM[NUM_WIDTH-1:0]), .den, .in_valid(den_valid), .in_ready(den_ready),
        .quot(quotient), .out_valid(quotient_valid), .out_ready(quotient_ready)
    );
    vp_fifo #(.WIDTH(25), .DEPTH(ITEMS + 2), .STYLE("distributed")) recips (
        .clk, .rst_n, .in_data(quotient), .in_valid(quotient_valid), .in_ready(quotient_ready),
        .out_data(recip), .out_valid(recip_valid), .out_ready(load && last_group)
    );

    // --- channels through the multipliers, without a stop: a group enters where its place at the output is free ---
    logic [SERIAL*LANES*ACC_WIDTH-1:0] shift_q;
    logic [SERIAL*LANES*OUT_WIDTH-1:0] word_q, word_d;
    logic [LANES*OUT_WIDTH-1:0] codes;
    logic [24:0] recip_q;
    logic [SERIAL_W-1:0] left_q;
    logic busy_q, can_take, codes_valid, codes_last;
    wire logic last = busy_q && left_q == '0;
    assign load   = can_take && (!busy_q || last) && head_valid && recip_valid;
    assign word_d = (SERIAL * LANES * OUT_WIDTH)'({codes, word_q} >> (LANES * OUT_WIDTH));
    assign room   = free_q >= FILL_W'(CHANNEL_GROUPS);

    vp_requant #(
        .LANES(LANES), .ACC_WIDTH(ACC_WIDTH), .MULT_WIDTH(25), .SHIFT(RECIP_SHIFT), .OUT_WIDTH(OUT_WIDTH),
        .OUT_SIGNED(1'b1), .TAG_BITS(2)
    ) requant (
        .clk, .rst_n, .acc(shift_q[LANES*ACC_WIDTH-1:0]), .mult({LANES{recip_q}}), .tag({busy_q, last}), .out(codes),
        .out_tag({codes_valid, codes_last})
    );
    vp_credit_fifo #(.WIDTH(SIMD * OUT_WIDTH), .DEPTH(16), .STYLE("distributed")) results (
        .clk, .rst_n, .take(load), .can_take, .push(codes_valid && codes_last), .push_data(word_d[SIMD*OUT_WIDTH-1:0]),
        .out_data, .out_valid, .out_ready
    );

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            free_q  <= FILL_W'(DEPTH);
            group_q <= '0;
            busy_q  <= 1'b0;
        end else begin
            free_q <= free_q - (take ? FILL_W'(CHANNEL_GROUPS) : '0) + FILL_W'(load);
            if (load) group_q <= last_group ? '0 : group_q + 1'b1;
            busy_q <= load || (busy_q && !last);
        end
        if (load) begin
            left_q  <= SERIAL_W'(SERIAL - 1);
            recip_q <= recip;
            shift_q <= (SERIAL * LANES * ACC_WIDTH)'(head);
        end else begin
            left_q  <= left_q - SERIAL_W'(left_q != '0);
            shift_q <= shift_q >> (LANES * ACC_WIDTH);
        end
        if (codes_valid) word_q <= word_d;
    end
endmodule

`default_nettype wire
