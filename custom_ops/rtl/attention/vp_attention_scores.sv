// Token scores S_j = sum over heads of floor(2^16 E_j / Z), E and Z of query 0, exact, one key a cycle.
// E waits in a ring of HEADS + 1 rows. Per head one sequential division gives R = ceil(2^P / Z), P = 24 +
// Z_WIDTH; then floor(2^16 E / Z) = (E R) >> (P - 16): R exceeds 2^P / Z by less than 1, so the product is
// too large by less than E < 2^8, which is below the 2^(P - 16) / Z >= 2^8 that part 2^16 E / Z from the
// next integer. Sums of a frame are complete after its last head and are emitted once, token by token,
// from one of two banks; the other takes the next frame meanwhile. Z must be at least 255.
`default_nettype none

module vp_attention_scores #(
    int unsigned TOKENS      = 17,
    int unsigned HEADS       = 1,
    int unsigned PE          = 1,
    int unsigned Z_WIDTH     = 16,
    int unsigned SCORE_WIDTH = 17,
    int unsigned DIVIDE_BITS = 1,
    parameter    RING_STYLE  = "auto"
) (
    input  wire logic                   clk,
    input  wire logic                   rst_n,
    output      logic                   room,     // a row of E fits
    input  wire logic                   take,     // ... and is reserved
    input  wire logic                   e_valid,  // key groups of a row in order
    input  wire logic [PE*8-1:0]        e,
    input  wire logic                   z_valid,  // after the row's last key group
    input  wire logic [Z_WIDTH-1:0]     z,
    output      logic [SCORE_WIDTH-1:0] out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
    if (SCORE_WIDTH < $clog2(HEADS * 65536 + 1)) begin : g_check
        $error("vp_attention_scores: SCORE_WIDTH is %0d, %0d heads need %0d", SCORE_WIDTH, HEADS,
               $clog2(HEADS * 65536 + 1));
    end
    localparam int unsigned KEY_GROUPS = (TOKENS + PE - 1) / PE;
    localparam int unsigned ROWS = HEADS + 1;
    localparam int unsigned P = 24 + Z_WIDTH;
    localparam int unsigned RECIP_W = P - 7;  // 2^P / 255 < 2^(P - 7)
    localparam int unsigned ENTRY_W = $clog2(ROWS * KEY_GROUPS);
    localparam int unsigned FILL_W = $clog2(ROWS + 1);
    localparam int unsigned TOKEN_W = TOKENS > 1 ? $clog2(TOKENS) : 1;
    localparam int unsigned LANE_W = PE > 1 ? $clog2(PE) : 1;
    localparam int unsigned HEAD_W = HEADS > 1 ? $clog2(HEADS) : 1;

    // --- reciprocal ---
    logic [Z_WIDTH-1:0] den;
    logic [RECIP_W-1:0] recip, recip_q;
    logic den_valid, den_ready, recip_valid, start, unused_z_ready;
    vp_fifo #(.WIDTH(Z_WIDTH), .DEPTH(ROWS + 2), .STYLE("distributed")) sums (
        .clk, .rst_n, .in_data(z), .in_valid(z_valid), .in_ready(unused_z_ready),
        .out_data(den), .out_valid(den_valid), .out_ready(den_ready)
    );
    vp_divide #(.NUM_WIDTH(P + 1), .DEN_WIDTH(Z_WIDTH), .QUOT_WIDTH(RECIP_W), .BITS(DIVIDE_BITS)) divide (
        .clk, .rst_n, .num({1'b1, P'(den - 1'b1)}), .den, .in_valid(den_valid), .in_ready(den_ready),
        .quot(recip), .out_valid(recip_valid), .out_ready(start)
    );

    // --- one head: TOKENS keys, then the pipeline drains ---
    logic run_q, done;
    logic [2:0] drain_q;
    logic [TOKEN_W-1:0] token_q;
    logic [LANE_W-1:0] lane_q;
    logic [HEAD_W-1:0] head_q;
    logic [FILL_W-1:0] free_q;
    logic [ENTRY_W-1:0] e_waddr_q, e_raddr_q;
    logic [PE*8-1:0] row_word;
    logic [1:0] full_q;  // banks that hold a frame's scores
    logic acc_bank_q;
    wire logic last_token = run_q && token_q == TOKEN_W'(TOKENS - 1);
    wire logic last_lane = lane_q == LANE_W'(PE - 1) || last_token;
    wire logic last_head = head_q == HEAD_W'(HEADS - 1);
    wire logic frame_done = done && last_head;
    assign start = recip_valid && !run_q && drain_q == '0 && (head_q != '0 || !full_q[1]);
    assign done  = drain_q == 3'd1;
    assign room  = free_q != '0;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            run_q      <= 1'b0;
            drain_q    <= '0;
            token_q    <= '0;
            lane_q     <= '0;
            head_q     <= '0;
            free_q     <= FILL_W'(ROWS);
            e_waddr_q  <= '0;
            e_raddr_q  <= '0;
            acc_bank_q <= 1'b0;
        end else begin
            if (start) run_q <= 1'b1;
            else if (last_token) run_q <= 1'b0;
            if (last_token) drain_q <= 3'd4;
            else if (drain_q != '0) drain_q <= drain_q - 1'b1;
            free_q <= free_q - FILL_W'(take) + FILL_W'(last_token);
            if (e_valid) e_waddr_q <= e_waddr_q == ENTRY_W'(ROWS * KEY_GROUPS - 1) ? '0 : e_waddr_q + 1'b1;
            if (run_q) begin
                token_q <= last_token ? '0 : token_q + 1'b1;
                lane_q  <= last_lane ? '0 : lane_q + 1'b1;
                if (last_lane) e_raddr_q <= e_raddr_q == ENTRY_W'(ROWS * KEY_GROUPS - 1) ? '0 : e_raddr_q + 1'b1;
            end
            if (done) head_q <= last_head ? '0 : head_q + 1'b1;
            acc_bank_q <= acc_bank_q ^ frame_done;
        end
        if (start) recip_q <= recip;
    end
    vp_ram #(.DEPTH(ROWS * KEY_GROUPS), .WIDTH(PE * 8), .STYLE(RING_STYLE)) ring (
        .clk, .we(e_valid), .waddr(e_waddr_q), .wdata(e),
        .re(run_q && lane_q == '0), .zero(1'b0), .raddr(e_raddr_q), .rdata(row_word)
    );

    // --- stage 1: E of one key, 2: product, 3: quotient and read of the sum, 4: new sum ---
    logic [3:0] valid_q;
    logic fresh_q;
    logic [PE*8-1:0] shift_q;
    logic [7:0] e_q;
    logic [RECIP_W+7:0] product_q;
    logic [16:0] quotient_q;
    logic [TOKEN_W-1:0] raddr_q, waddr_q;
    logic [SCORE_WIDTH-1:0] bank_data[2];
    wire logic [PE*8-1:0] word = fresh_q ? row_word : shift_q;
    wire logic [SCORE_WIDTH-1:0] carried = head_q == '0 ? '0 : bank_data[acc_bank_q];
    wire logic [SCORE_WIDTH-1:0] sum = SCORE_WIDTH'(quotient_q) + carried;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            valid_q <= '0;
            raddr_q <= '0;
            waddr_q <= '0;
        end else begin
            valid_q <= {valid_q[2:0], run_q};
            if (valid_q[2]) raddr_q <= raddr_q == TOKEN_W'(TOKENS - 1) ? '0 : raddr_q + 1'b1;
            waddr_q <= raddr_q;
        end
        fresh_q    <= lane_q == '0;
        shift_q    <= word >> 8;
        e_q        <= word[7:0];
        product_q  <= (RECIP_W + 8)'(e_q) * (RECIP_W + 8)'(recip_q);
        quotient_q <= product_q[P-16+:17];
    end

    // --- banks and emission ---
    logic emit_bank_q, sent_q, valid_out_q, last_out_q;
    logic [TOKEN_W-1:0] emit_q;
    wire logic move = !valid_out_q || out_ready;
    wire logic emit = full_q != '0 && !sent_q;
    wire logic emit_last = emit_q == TOKEN_W'(TOKENS - 1);
    wire logic freed = valid_out_q && out_ready && last_out_q;
    for (genvar i = 0; i < 2; i++) begin : g_bank
        wire logic out_side = full_q != '0 && emit_bank_q == i[0];
        vp_ram #(.DEPTH(TOKENS), .WIDTH(SCORE_WIDTH), .STYLE("distributed")) bank (
            .clk, .we(valid_q[3] && acc_bank_q == i[0]), .waddr(waddr_q), .wdata(sum),
            .re(out_side ? emit && move : valid_q[2]), .zero(1'b0), .raddr(out_side ? emit_q : raddr_q),
            .rdata(bank_data[i])
        );
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            full_q      <= '0;
            emit_bank_q <= 1'b0;
            emit_q      <= '0;
            sent_q      <= 1'b0;
            valid_out_q <= 1'b0;
        end else begin
            full_q      <= full_q + 2'(frame_done) - 2'(freed);
            emit_bank_q <= emit_bank_q ^ freed;
            if (move) valid_out_q <= emit;
            if (move && emit) begin
                emit_q <= emit_last ? '0 : emit_q + 1'b1;
                sent_q <= emit_last;
            end
            if (freed) sent_q <= 1'b0;
        end
        if (move) last_out_q <= emit_last;
    end
    assign out_data  = bank_data[emit_bank_q];
    assign out_valid = valid_out_q;
endmodule

`default_nettype wire
