// Holds K and V of two frames: while one is computed with, the next is written.
// The input is token-serial, a token's K channels before its V channels, SIMD a beat. Token t lies in
// bank t % PE, so that one read gives PE keys. K words are ordered (head, key group, channel group), V
// words (head, channel group, key group): each reader walks its words in order. Frame slots alternate;
// *_frames counts whole frames held, *_release gives one back. Padding keys are never written. Data come LATENCY
// cycles after *_re.
`default_nettype none

module vp_attention_kv #(
    int unsigned TOKENS = 17,
    int unsigned HEADS  = 1,
    int unsigned CHANNEL_GROUPS     = 1,
    int unsigned SIMD   = 8,
    int unsigned PE     = 1,
    int unsigned WIDTH  = 8,
    parameter    STYLE  = "auto",
    int unsigned LATENCY = 1,  // of a read
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned DEPTH = 2 * HEADS * CHANNEL_GROUPS * KEY_GROUPS,
    localparam int unsigned ADDR_W = $clog2(DEPTH)
) (
    input  wire logic                     clk,
    input  wire logic                     rst_n,
    input  wire logic [SIMD*WIDTH-1:0]    in_data,
    input  wire logic                     in_valid,
    output      logic                     in_ready,
    output      logic [1:0]               k_frames,
    input  wire logic                     k_release,
    input  wire logic                     k_re,
    input  wire logic [ADDR_W-1:0]            k_addr,
    output      logic [PE*SIMD*WIDTH-1:0] k_data,
    output      logic [1:0]               v_frames,
    input  wire logic                     v_release,
    input  wire logic                     v_re,
    input  wire logic [ADDR_W-1:0]            v_addr,
    output      logic [PE*SIMD*WIDTH-1:0] v_data
);
    localparam int unsigned CHANNEL_GROUP_W = CHANNEL_GROUPS > 1 ? $clog2(CHANNEL_GROUPS) : 1;
    localparam int unsigned HEAD_W = HEADS > 1 ? $clog2(HEADS) : 1;
    localparam int unsigned TOKEN_W = TOKENS > 1 ? $clog2(TOKENS) : 1;
    localparam int unsigned KEY_GROUP_W = KEY_GROUPS > 1 ? $clog2(KEY_GROUPS) : 1;

    logic [CHANNEL_GROUP_W-1:0] cg_q;
    logic [HEAD_W-1:0] head_q;
    logic [TOKEN_W-1:0] token_q;
    logic [KEY_GROUP_W-1:0] kg_q, kg_next;
    logic [PE-1:0] lane_q, lane_next;  // one-hot bank of the token
    logic part_q;                      // 0: K, 1: V
    logic slot_q;                      // frame slot being written
    logic [ADDR_W-1:0] addr_q, addr_d;
    logic [ADDR_W-1:0] base_q, base_next;  // first K word of the key group within a frame slot

    wire logic take = in_valid && in_ready;
    wire logic last_cg = cg_q == CHANNEL_GROUP_W'(CHANNEL_GROUPS - 1);
    wire logic last_part = last_cg && head_q == HEAD_W'(HEADS - 1);
    wire logic last_beat = last_part && part_q;
    wire logic last_frame = last_beat && token_q == TOKEN_W'(TOKENS - 1);
    wire logic done = take && last_frame;
    assign in_ready = part_q ? !v_frames[1] : !k_frames[1];  // 2 frames held: no room

    always_comb begin
        lane_next = lane_q;
        kg_next   = kg_q;
        base_next = base_q;
        if (last_beat) begin
            lane_next = PE'({lane_q, lane_q[PE-1]});
            if (lane_q[PE-1]) begin
                kg_next   = kg_q + 1'b1;
                base_next = base_q + ADDR_W'(CHANNEL_GROUPS);
            end
        end
        if (last_frame) begin
            lane_next = PE'(1);
            kg_next   = '0;
            base_next = '0;
        end
        // After a token's K comes its V, then the next token's K.
        if (last_part && !part_q) addr_d = (slot_q ? ADDR_W'(DEPTH / 2) : '0) + ADDR_W'(kg_q);
        else if (last_beat) addr_d = (slot_q ^ last_frame ? ADDR_W'(DEPTH / 2) : '0) + base_next;
        else if (part_q) addr_d = addr_q + ADDR_W'(KEY_GROUPS);
        else addr_d = addr_q + (last_cg ? ADDR_W'((KEY_GROUPS - 1) * CHANNEL_GROUPS + 1) : ADDR_W'(1));
    end

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            cg_q    <= '0;
            head_q  <= '0;
            token_q <= '0;
            kg_q    <= '0;
            base_q  <= '0;
            lane_q  <= PE'(1);
            part_q  <= 1'b0;
            slot_q  <= 1'b0;
            addr_q  <= '0;
            k_frames <= '0;
            v_frames <= '0;
        end else begin
            k_frames <= k_frames + 2'(done) - 2'(k_release);
            v_frames <= v_frames + 2'(done) - 2'(v_release);
            if (take) begin
                addr_q <= addr_d;
                lane_q <= lane_next;
                kg_q   <= kg_next;
                base_q <= base_next;
                cg_q   <= last_cg ? '0 : cg_q + 1'b1;
                if (last_cg) head_q <= last_part ? '0 : head_q + 1'b1;
                if (last_part) part_q <= !part_q;
                if (last_beat) token_q <= last_frame ? '0 : token_q + 1'b1;
                if (last_frame) slot_q <= !slot_q;
            end
        end
    end

    logic [SIMD*WIDTH-1:0] wdata_q;
    logic [ADDR_W-1:0] waddr_q;
    logic [PE-1:0] k_we_q, v_we_q;
    always_ff @(posedge clk) begin
        wdata_q <= in_data;
        waddr_q <= addr_q;
        k_we_q  <= take && !part_q ? lane_q : '0;
        v_we_q  <= take && part_q ? lane_q : '0;
    end

    wire logic [LATENCY-1:0] k_enables = LATENCY'({{LATENCY{1'b1}}, k_re});
    wire logic [LATENCY-1:0] v_enables = LATENCY'({{LATENCY{1'b1}}, v_re});
    for (genvar i = 0; i < PE; i++) begin : g_bank
        vp_ram #(.DEPTH(DEPTH), .WIDTH(SIMD * WIDTH), .STYLE(STYLE), .READ_LATENCY(LATENCY)) keys (
            .clk, .we(k_we_q[i]), .waddr(waddr_q), .wdata(wdata_q),
            .re(k_enables), .zero(1'b0), .raddr(k_addr), .rdata(k_data[i*SIMD*WIDTH+:SIMD*WIDTH])
        );
        vp_ram #(.DEPTH(DEPTH), .WIDTH(SIMD * WIDTH), .STYLE(STYLE), .READ_LATENCY(LATENCY)) values (
            .clk, .we(v_we_q[i]), .waddr(waddr_q), .wdata(wdata_q),
            .re(v_enables), .zero(1'b0), .raddr(v_addr), .rdata(v_data[i*SIMD*WIDTH+:SIMD*WIDTH])
        );
    end
endmodule

`default_nettype wire
