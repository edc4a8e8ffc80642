// Last step of attention: O = clip(round_half_even(acc * floor(RECIP_NUM / Z) * 2^-RECIP_SHIFT)), SIMD
// channels per beat. Accumulators wait in a ring of DEPTH channel groups while their row's reciprocal is
// divided, then pass ceil(SIMD / KEY_GROUPS) multipliers, channels in order; groups that come KEY_GROUPS cycles apart or
// more do so without waiting, others wait in the ring.
// room says that a whole item (CHANNEL_GROUPS groups) fits; take reserves it. A group passes without a stop: it starts where its
// place in the FIFO at the output is free. Z must be at least 255. RECIP_NUM and the shift are those of the encoder that comes
// with each Z and each accumulator.
`default_nettype none

module vp_attention_norm #(
    int unsigned ENCODERS    = 1,
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned KEY_GROUPS          = 17,
    int unsigned SIMD        = 8,
    int unsigned DEPTH       = 64,
    int unsigned ACC_WIDTH   = 24,
    int unsigned Z_WIDTH     = 16,
    int unsigned OUT_WIDTH   = 8,
    parameter logic [ENCODERS*64-1:0] RECIP_NUMS = '0,   // by encoder, as RECIP_LEFTS
    parameter logic [ENCODERS*32-1:0] RECIP_LEFTS = '0,
    bit          LOADED      = 1'b0,  // both come through the load chain
    parameter    UNIT        = "",    // of files from which simulations fill them
    int unsigned RECIP_SHIFT = 0,
    int unsigned RECIP_SPAN  = 0,   // an encoder's shift is RECIP_SHIFT less its RECIP_LEFTS, which is at most this
    int unsigned RECIP_STAGES = 1,  // of the divider
    int unsigned OUT_DEPTH   = 16,  // beats of O under way or waiting
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic                      clk, rst_n,
    input  wire logic [33:0]               load_in,
    output      logic [33:0]               load_out,
    output      logic                      room,
    input  wire logic                      take,
    input  wire logic                      acc_valid,
    input  wire logic [SIMD*ACC_WIDTH-1:0] acc,
    input  wire logic [TAG_W-1:0]          acc_encoder,
    input  wire logic                      z_valid,
    input  wire logic [Z_WIDTH-1:0]        z,
    input  wire logic [TAG_W-1:0]          z_encoder,
    output      logic [SIMD*OUT_WIDTH-1:0] out_data,
    output      logic                      out_valid,
    input  wire logic                      out_ready
);
    localparam int unsigned LANES = (SIMD + KEY_GROUPS - 1) / KEY_GROUPS;
    localparam int unsigned SERIAL = (SIMD + LANES - 1) / LANES;
    localparam int unsigned CHANNELS = SERIAL * LANES;  // SIMD and padding
    localparam int unsigned ITEMS = (DEPTH + CHANNEL_GROUPS - 1) / CHANNEL_GROUPS;
    localparam int unsigned FILL_W = $clog2(DEPTH + CHANNEL_GROUPS + 1);
    localparam int unsigned NUM_WIDTH = Z_WIDTH + 25 < 40 ? Z_WIDTH + 25 : 40;

    // --- a group starts ---
    logic [33:0] chain;
    logic [24:0] recip;
    logic recip_valid, group_there, can_take, last_group, busy_q, last_step, load_q, last_q, room_q;
    logic [FILL_W-1:0] free_q;
    wire logic load = (!busy_q || last_step) && group_there && recip_valid && can_take;
    // Where groups start two cycles apart or more, a reciprocal has the time to leave a cycle after its last group.
    wire logic recip_ready = SERIAL > 1 ? last_q : load && last_group;

    vp_attention_reciprocal #(
        .ENCODERS(ENCODERS), .Z_WIDTH(Z_WIDTH), .NUM_WIDTH(NUM_WIDTH), .NUMS(RECIP_NUMS), .WIDTH(25), .STAGES(RECIP_STAGES),
        .ITEMS(ITEMS), .LOADED(LOADED), .FILE({UNIT, "_recip_nums.fill"})
    ) reciprocal (
        .clk, .rst_n, .load_in, .load_out(chain), .z_valid, .z, .encoder(z_encoder), .recip, .recip_valid, .recip_ready
    );
    vp_credits #(.COUNT(DEPTH), .FREE(0)) there (.clk, .rst_n, .take(load), .give(acc_valid), .can_take(group_there));
    vp_counter #(.COUNT(CHANNEL_GROUPS)) groups (.clk, .rst_n, .step(load), .count(), .last(last_group));
    vp_counter #(.COUNT(SERIAL)) steps (.clk, .rst_n, .step(busy_q), .count(), .last(last_step));

    assign room = room_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            free_q <= FILL_W'(DEPTH);
            room_q <= 1'b0;
            busy_q <= 1'b0;
            load_q <= 1'b0;
            last_q <= 1'b0;
        end else begin
            free_q <= free_q + FILL_W'(load_q) - (take ? FILL_W'(CHANNEL_GROUPS) : '0);
            room_q <= free_q + FILL_W'(load_q) >= (take ? FILL_W'(2 * CHANNEL_GROUPS) : FILL_W'(CHANNEL_GROUPS));
            busy_q <= load || (busy_q && !last_step);
            load_q <= load;
            last_q <= load && last_group;
        end
    end

    // --- the ring of groups, each with its shift if that may be another one, read at every load ---
    localparam int unsigned LEFT_W = vp_pkg::width(RECIP_SPAN + 1);
    localparam int unsigned GROUP_W = RECIP_SPAN > 0 ? SIMD * ACC_WIDTH + LEFT_W : SIMD * ACC_WIDTH;
    logic [vp_pkg::width(DEPTH)-1:0] waddr, raddr;
    logic [31:0] left;
    logic [LEFT_W-1:0] head_left;
    logic [GROUP_W-1:0] word;
    logic [SIMD*ACC_WIDTH-1:0] head;
    assign {head_left, head} = (LEFT_W + SIMD * ACC_WIDTH)'(word);
    vp_engine_values #(.ENCODERS(ENCODERS), .VALUES(RECIP_LEFTS), .LOADED(LOADED), .FILE({UNIT, "_recip_lefts.fill"})) left_of (
        .clk, .rst_n, .load_in(chain), .load_out, .encoder(acc_encoder), .value(left)
    );
    vp_counter #(.COUNT(DEPTH)) writes (.clk, .rst_n, .step(acc_valid), .count(waddr), .last());
    vp_counter #(.COUNT(DEPTH)) reads (.clk, .rst_n, .step(load), .count(raddr), .last());
    vp_ram #(.DEPTH(DEPTH), .WIDTH(GROUP_W), .STYLE("distributed")) ring (
        .clk, .we(acc_valid), .waddr, .wdata(GROUP_W'({LEFT_W'(left), acc})), .re(1'b1), .zero(1'b0), .raddr, .rdata(word)
    );

    // --- channels through the multipliers, LANES a cycle; load has a register of its own for each GROUP of channels ---
    localparam int unsigned GROUP = 8;
    localparam int unsigned GROUPS = (CHANNELS + GROUP - 1) / GROUP;
    logic [GROUPS-1:0] loads;
    logic [CHANNELS*ACC_WIDTH-1:0] shift_q;
    logic [CHANNELS*OUT_WIDTH-1:0] word_q;
    logic [LANES*OUT_WIDTH-1:0] codes;
    logic [24:0] recip_q, mult_q;
    logic [LEFT_W-1:0] left_q;
    logic shift_last_q, codes_last, push_q;
    for (genvar g = 0; g < GROUPS; g++) begin : g_group
        vp_copy copy (.clk, .in(load), .out(loads[g]));
    end
    vp_requant #(
        .LANES(LANES), .ACC_WIDTH(ACC_WIDTH), .MULT_WIDTH(25), .SHIFT(RECIP_SHIFT), .SPAN(RECIP_SPAN), .OUT_WIDTH(OUT_WIDTH),
        .OUT_SIGNED(1'b1)
    ) requant (
        .clk, .rst_n, .acc(shift_q[LANES*ACC_WIDTH-1:0]), .mult({LANES{mult_q}}), .left(left_q), .tag(shift_last_q), .out(codes),
        .out_tag(codes_last)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            shift_last_q <= 1'b0;
            push_q       <= 1'b0;
        end else begin
            shift_last_q <= busy_q && last_step;
            push_q       <= codes_last;
        end
        if (load) recip_q <= recip;
        if (load_q) mult_q <= recip_q;
        if (load_q) left_q <= head_left;
        for (int unsigned i = 0; i < CHANNELS; i++) begin
            if (i < SIMD && loads[i/GROUP]) shift_q[i*ACC_WIDTH+:ACC_WIDTH] <= head[i*ACC_WIDTH+:ACC_WIDTH];
            else if (i + LANES < CHANNELS) shift_q[i*ACC_WIDTH+:ACC_WIDTH] <= shift_q[(i+LANES)*ACC_WIDTH+:ACC_WIDTH];
        end
        word_q <= (CHANNELS * OUT_WIDTH)'({codes, word_q} >> (LANES * OUT_WIDTH));
    end
    vp_credit_fifo #(.WIDTH(SIMD * OUT_WIDTH), .DEPTH(OUT_DEPTH), .STYLE("distributed")) results (
        .clk, .rst_n, .take(load), .can_take, .push(push_q), .push_data(word_q[SIMD*OUT_WIDTH-1:0]),
        .out_data, .out_valid, .out_ready
    );
endmodule

`default_nettype wire
