// Holds K and V of two frames: while one is computed with, the next is written.
// The input is token-serial, a token's K channels before its V channels, SIMD a beat. Token t lies in
// bank t % PE, so that one read gives PE keys. K words are ordered (head, key group, channel group), V
// words (head, channel group, key group): each reader walks its words in order. Frame slots alternate; k_whole says that
// a frame is there that k_start has not taken; *_release gives a slot back. Padding keys are never written. Every bank has
// address registers of its own, of LUTRAM every part of a bank; data come LATENCY cycles after *_re.
// A slot has the size of the largest frame. An encoder's frame begins where its slot does, with its own tokens and heads.
`default_nettype none

module vp_attention_kv #(
    int unsigned ENCODERS = 1,
    int unsigned TOKENS = 17,  // at most, as HEADS
    int unsigned HEADS  = 1,
    parameter logic [ENCODERS*128-1:0] SHAPES = '0,  // by encoder, see shape_t
    bit          LOADED = 1'b0,  // they come through the load chain
    parameter    FILE   = "",
    int unsigned CHANNEL_GROUPS     = 1,
    int unsigned SIMD   = 8,
    int unsigned PE     = 1,
    int unsigned WIDTH  = 8,
    parameter    STYLE  = "block",
    int unsigned ROW    = 512,  // words of a row of RAM
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned DEPTH = 2 * HEADS * CHANNEL_GROUPS * KEY_GROUPS,
    localparam int unsigned ADDR_W = $clog2(DEPTH)
) (
    input  wire logic                     clk, rst_n,
    input  wire logic [33:0]              load_in,
    output      logic [33:0]              load_out,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the frame that is written next
    input  wire logic                     encoder_valid,
    output      logic                     encoder_ready,
    input  wire logic [SIMD*WIDTH-1:0]    in_data,
    input  wire logic                     in_valid,
    output      logic                     in_ready,
    output      logic                     k_whole,
    input  wire logic                     k_start,
    input  wire logic                     k_release,
    input  wire logic                     k_re,
    input  wire logic [ADDR_W-1:0]        k_addr,
    output      logic [PE*SIMD*WIDTH-1:0] k_data,
    input  wire logic                     v_release,
    input  wire logic                     v_re,
    input  wire logic [ADDR_W-1:0]        v_addr,
    output      logic [PE*SIMD*WIDTH-1:0] v_data
);
    // --- beats enter: K while a slot has room for keys, V while one has room for values ---

    typedef struct packed {
        logic [31:0] part;         // beats of a token's K or V, less 2
        logic [31:0] frame;        // ... of a frame
        logic [31:0] next_head;    // steps between words: of K to the next head
        logic [31:0] next_values;  // ... of V to the next channel group
    } shape_t;
    shape_t shape;
    logic known;

    logic k_room, v_room, last_cg, last_of_part, last_of_frame;
    logic part_q;  // 0: K, 1: V
    wire logic take = in_valid && in_ready;
    wire logic frame_end = in_valid && known && v_room && last_of_frame;
    assign in_ready = known && (part_q ? v_room : k_room);

    vp_engine_table #(.ENCODERS(ENCODERS), .FIELDS($bits(shape_t) / 32), .VALUES(SHAPES), .LOADED(LOADED), .FILE(FILE)) shape_of (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready,
        .value(shape), .of(), .value_valid(known), .value_ready(frame_end)
    );
    vp_counter #(.COUNT(CHANNEL_GROUPS)) cgs (.clk, .rst_n, .step(take), .count(), .last(last_cg));
    vp_sized_counter #(.MOST(HEADS * CHANNEL_GROUPS)) part (
        .clk, .rst_n, .less_2((vp_pkg::width(HEADS * CHANNEL_GROUPS) + 1)'(shape.part)), .step(take), .count(), .last(last_of_part)
    );
    vp_sized_counter #(.MOST(2 * TOKENS * HEADS * CHANNEL_GROUPS)) frame (
        .clk, .rst_n, .less_2(($clog2(2 * TOKENS * HEADS * CHANNEL_GROUPS) + 1)'(shape.frame)), .step(take), .count(), .last(last_of_frame)
    );
    vp_credits #(.COUNT(2)) k_slots (.clk, .rst_n, .take(frame_end), .give(k_release), .can_take(k_room));
    vp_credits #(.COUNT(2)) v_slots (.clk, .rst_n, .take(frame_end), .give(v_release), .can_take(v_room));
    vp_credits #(.COUNT(2), .FREE(0)) frames (.clk, .rst_n, .take(k_start), .give(frame_end), .can_take(k_whole));

    // --- a cycle later: the word that the beat goes to; a frame's last beat, here without its shape, ends a part: none needed ---
    typedef struct packed {logic valid, values, last_cg, part_end, frame_end;} beat_t;
    beat_t beat_q;
    logic [PE-1:0] lane_q;  // one-hot bank of the token
    logic slot_q;           // frame slot being written
    logic [ADDR_W-1:0] addr_q, k_first_q, k_first_d, v_first_q, v_first_d;  // first words of the token
    logic [SIMD*WIDTH-1:0] data_q;

    always_comb begin
        k_first_d = k_first_q;
        v_first_d = v_first_q;
        if (beat_q.frame_end) begin
            k_first_d = slot_q ? '0 : ADDR_W'(DEPTH / 2);
            v_first_d = slot_q ? '0 : ADDR_W'(DEPTH / 2);
        end else if (lane_q[PE-1]) begin
            k_first_d = k_first_q + ADDR_W'(CHANNEL_GROUPS);
            v_first_d = v_first_q + 1'b1;
        end
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            part_q    <= 1'b0;
            beat_q    <= '0;
            lane_q    <= PE'(1);
            slot_q    <= 1'b0;
            addr_q    <= '0;
            k_first_q <= '0;
            v_first_q <= '0;
        end else begin
            part_q <= part_q ^ (take && last_of_part);
            beat_q <= beat_t'{take, part_q, last_cg, take && last_of_part, last_of_frame};
            if (beat_q.part_end) addr_q <= beat_q.values ? k_first_d : v_first_q;
            else if (beat_q.valid) addr_q <= addr_q + (beat_q.values ? ADDR_W'(shape.next_values) : beat_q.last_cg ? ADDR_W'(shape.next_head) : ADDR_W'(1));
            if (beat_q.part_end && beat_q.values) begin
                lane_q    <= beat_q.frame_end ? PE'(1) : PE'({lane_q, lane_q[PE-1]});
                slot_q    <= slot_q ^ beat_q.frame_end;
                k_first_q <= k_first_d;
                v_first_q <= v_first_d;
            end
        end
        data_q <= in_data;
    end

    // --- banks; LUTRAM in parts of at most 128 bits ---
    localparam int unsigned WORD = SIMD * WIDTH;
    localparam int unsigned PART = STYLE == "distributed" && WORD > 128 ? 128 : WORD;
    logic [SIMD*WIDTH-1:0] wdata_q;
    logic [PE-1:0] k_we_q, v_we_q;
    always_ff @(posedge clk) begin
        wdata_q <= data_q;
        k_we_q  <= beat_q.valid && !beat_q.values ? lane_q : '0;
        v_we_q  <= beat_q.valid && beat_q.values ? lane_q : '0;
    end
    for (genvar i = 0; i < PE; i++) begin : g_bank
        for (genvar b = 0; b < WORD; b += PART) begin : g_part
            localparam int unsigned BITS = WORD - b < PART ? WORD - b : PART;
            logic [ADDR_W-1:0] waddr, k_raddr, v_raddr;
            logic k_read, v_read;
            vp_copy #(.WIDTH(ADDR_W)) writes (.clk, .in(addr_q), .out(waddr));
            vp_copy #(.WIDTH(1 + ADDR_W)) k_reads (.clk, .in({k_re, k_addr}), .out({k_read, k_raddr}));
            vp_copy #(.WIDTH(1 + ADDR_W)) v_reads (.clk, .in({v_re, v_addr}), .out({v_read, v_raddr}));
            vp_row_ram #(.DEPTH(DEPTH), .WIDTH(BITS), .STYLE(STYLE), .ROW(ROW)) keys (
                .clk, .we(k_we_q[i]), .waddr, .wdata(wdata_q[b+:BITS]), .re(k_read), .raddr(k_raddr), .rdata(k_data[i*WORD+b+:BITS])
            );
            vp_row_ram #(.DEPTH(DEPTH), .WIDTH(BITS), .STYLE(STYLE), .ROW(ROW)) values (
                .clk, .we(v_we_q[i]), .waddr, .wdata(wdata_q[b+:BITS]), .re(v_read), .raddr(v_raddr), .rdata(v_data[i*WORD+b+:BITS])
            );
        end
    end
endmodule

`default_nettype wire
