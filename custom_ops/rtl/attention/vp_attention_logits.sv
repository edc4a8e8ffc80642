// First phase of attention: logit codes of one (query, head) item after the other, heads ascending.
// PE keys x SIMD channels a cycle, channel groups innermost, ceil(TOKENS / PE) * CHANNEL_GROUPS cycles per item and
// none between items. An item starts when its query slice, the frame's keys and a logit slot are there and
// then runs to its end, so nothing in the pipeline ever stalls. Finished items are announced with their
// row maximum; their logits are read at l_addr (slots in a ring, key groups in order) until item_free.
// Keys take K_LATENCY cycles to read, and their query words as many.
`default_nettype none

module vp_attention_logits #(
    int unsigned TOKENS      = 17,
    int unsigned QUERIES     = 17,
    int unsigned HEADS       = 1,
    int unsigned CHANNEL_GROUPS          = 1,
    int unsigned SIMD        = 8,
    int unsigned PE          = 1,
    int unsigned IN_WIDTH    = 8,
    int unsigned LOGIT_WIDTH = 8,
    int unsigned LOGIT_MULT  = 65536,
    int unsigned LOGIT_SHIFT = 16,
    int unsigned SLOTS       = 3,
    int unsigned K_LATENCY   = 1,
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE,
    localparam int unsigned KEY_ADDR_W = $clog2(2 * HEADS * CHANNEL_GROUPS * KEY_GROUPS),
    localparam int unsigned DOT_LATENCY = 4 + ($clog2((SIMD + 3) / 4) + 1) / 2,
    localparam int unsigned LOGIT_ADDR_W = $clog2(SLOTS * KEY_GROUPS)
) (
    input  wire logic                        clk,
    input  wire logic                        rst_n,
    input  wire logic [SIMD*IN_WIDTH-1:0]    q_data,
    input  wire logic                        q_valid,
    output      logic                        q_ready,
    input  wire logic [1:0]                  k_frames,
    output      logic                        k_release,
    output      logic                        k_re,
    output      logic [KEY_ADDR_W-1:0]              k_addr,
    input  wire logic [PE*SIMD*IN_WIDTH-1:0] k_data,
    output      logic [LOGIT_WIDTH-1:0]      item_max,
    output      logic                        item_valid,
    input  wire logic                        item_ready,
    input  wire logic                        item_free,
    input  wire logic                        l_re,
    input  wire logic [LOGIT_ADDR_W-1:0]              l_addr,
    output      logic [PE*LOGIT_WIDTH-1:0]   l_data
);
    localparam int unsigned CHANNEL_GROUP_W = CHANNEL_GROUPS > 1 ? $clog2(CHANNEL_GROUPS) : 1;
    localparam int unsigned KEY_GROUP_W = KEY_GROUPS > 1 ? $clog2(KEY_GROUPS) : 1;
    localparam int unsigned HEAD_W = HEADS > 1 ? $clog2(HEADS) : 1;
    localparam int unsigned QUERY_W = QUERIES > 1 ? $clog2(QUERIES) : 1;
    localparam int unsigned FRAME = HEADS * CHANNEL_GROUPS * KEY_GROUPS;
    localparam int unsigned SUMW = 2 * IN_WIDTH + $clog2(SIMD);
    localparam int unsigned ACCW = 2 * IN_WIDTH + $clog2(SIMD * CHANNEL_GROUPS);

    // --- issue: counters of the running item and what the next one waits for ---
    logic run_q, k_slot_q;
    logic [CHANNEL_GROUP_W-1:0] cg_q;
    logic [KEY_GROUP_W-1:0] kg_q;
    logic [HEAD_W-1:0] head_q;
    logic [QUERY_W-1:0] query_q;
    logic [$clog2(SLOTS+1)-1:0] free_q;

    wire logic last_cg = cg_q == CHANNEL_GROUP_W'(CHANNEL_GROUPS - 1);
    wire logic last_item = run_q && last_cg && kg_q == KEY_GROUP_W'(KEY_GROUPS - 1);
    wire logic last_query = last_item && head_q == HEAD_W'(HEADS - 1);
    wire logic last_frame = last_query && query_q == QUERY_W'(QUERIES - 1);
    wire logic first_next = last_frame || (!run_q && head_q == '0 && query_q == '0);
    wire logic k_ok = !first_next || k_frames > 2'(last_frame);
    logic q_ok;
    wire logic start = (!run_q || last_item) && q_ok && k_ok && free_q != '0;
    wire logic [KEY_ADDR_W-1:0] k_base = k_slot_q ^ last_frame ? KEY_ADDR_W'(FRAME) : '0;

    assign k_re      = run_q;
    assign k_release = last_frame;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            run_q    <= 1'b0;
            k_slot_q <= 1'b0;
            cg_q     <= '0;
            kg_q     <= '0;
            head_q   <= '0;
            query_q  <= '0;
            k_addr <= '0;
            free_q   <= SLOTS[$clog2(SLOTS+1)-1:0];
        end else begin
            if (start) run_q <= 1'b1;
            else if (last_item) run_q <= 1'b0;
            free_q <= free_q - $bits(free_q)'(start) + $bits(free_q)'(item_free);
            if (run_q) begin
                k_addr <= last_query ? k_base : k_addr + 1'b1;
                cg_q     <= last_cg ? '0 : cg_q + 1'b1;
                if (last_cg) kg_q <= last_item ? '0 : kg_q + 1'b1;
                if (last_item) head_q <= last_query ? '0 : head_q + 1'b1;
                if (last_query) query_q <= last_frame ? '0 : query_q + 1'b1;
                k_slot_q <= k_slot_q ^ last_frame;
            end
        end
    end

    // --- query slices: a ring of four, each read once per key group ---
    localparam int unsigned QUERY_ADDR_W = $clog2(4 * CHANNEL_GROUPS);
    logic [QUERY_ADDR_W-1:0] q_waddr_q, q_raddr_q, q_base_q;
    logic [CHANNEL_GROUP_W-1:0] q_cg_q;
    logic [2:0] q_slices_q;
    logic [SIMD*IN_WIDTH-1:0] q_word;
    wire logic q_take = q_valid && q_ready;
    wire logic q_last = q_take && q_cg_q == CHANNEL_GROUP_W'(CHANNEL_GROUPS - 1);
    wire logic [QUERY_ADDR_W-1:0] q_base_d = q_base_q == QUERY_ADDR_W'(3 * CHANNEL_GROUPS) ? '0 : q_base_q + QUERY_ADDR_W'(CHANNEL_GROUPS);
    assign q_ready = !q_slices_q[2];
    assign q_ok    = q_slices_q > 3'(last_item);

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            q_waddr_q  <= '0;
            q_raddr_q  <= '0;
            q_base_q   <= '0;
            q_cg_q     <= '0;
            q_slices_q <= '0;
        end else begin
            q_slices_q <= q_slices_q + 3'(q_last) - 3'(last_item);
            if (q_take) begin
                q_waddr_q <= q_waddr_q == QUERY_ADDR_W'(4 * CHANNEL_GROUPS - 1) ? '0 : q_waddr_q + 1'b1;
                q_cg_q    <= q_last ? '0 : q_cg_q + 1'b1;
            end
            if (last_item) q_base_q <= q_base_d;
            if (run_q) q_raddr_q <= last_item ? q_base_d : last_cg ? q_base_q : q_raddr_q + 1'b1;
        end
    end
    vp_ram #(
        .DEPTH(4 * CHANNEL_GROUPS), .WIDTH(SIMD * IN_WIDTH), .STYLE("distributed"), .READ_LATENCY(K_LATENCY)
    ) queries (
        .clk, .we(q_take), .waddr(q_waddr_q), .wdata(q_data), .re(K_LATENCY'({{K_LATENCY{1'b1}}, run_q})), .zero(1'b0),
        .raddr(q_raddr_q), .rdata(q_word)
    );

    // --- dot products and accumulation over the channel groups ---
    logic [PE*SUMW-1:0] sums;
    vp_attention_dot #(.OUT(PE), .IN(SIMD), .A_WIDTH(IN_WIDTH), .B_WIDTH(IN_WIDTH), .B_SIGNED(1'b1)) dot (
        .clk, .a(k_data), .b(q_word), .sums
    );

    typedef struct packed {logic valid, first, last;} tag_t;
    localparam int unsigned LAST_TAG = K_LATENCY + DOT_LATENCY - 1;
    tag_t [LAST_TAG:0] tags_q;
    wire tag_t tag = tags_q[LAST_TAG];
    logic [PE*ACCW-1:0] acc_q, acc_d;
    always_comb begin
        for (int unsigned i = 0; i < PE; i++)
            acc_d[i*ACCW+:ACCW] = ACCW'($signed(sums[i*SUMW+:SUMW])) + (tag.first ? '0 : acc_q[i*ACCW+:ACCW]);
    end
    always_ff @(posedge clk) begin
        if (!rst_n) tags_q <= '0;
        else tags_q <= {tags_q[LAST_TAG-1:0], tag_t'{run_q, cg_q == '0, last_cg}};
        if (tag.valid) acc_q <= acc_d;
    end

    vp_attention_rowmax #(
        .TOKENS(TOKENS), .CHANNEL_GROUPS(CHANNEL_GROUPS), .PE(PE), .ACC_WIDTH(ACCW), .LOGIT_WIDTH(LOGIT_WIDTH),
        .LOGIT_MULT(LOGIT_MULT), .LOGIT_SHIFT(LOGIT_SHIFT), .SLOTS(SLOTS)
    ) rowmax (
        .clk, .rst_n, .load(tag.valid && tag.last), .acc(acc_d),
        .item_max, .item_valid, .item_ready, .l_re, .l_addr, .l_data
    );
endmodule

`default_nettype wire
