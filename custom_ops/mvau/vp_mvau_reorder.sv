// Puts the rows of the sparse-block matrix unit in order: takes DRAIN_WIDTH elements of each of ROWS_PER_STEP rows a
// beat, WORDS beats for these rows, a set, and gives the rows one after the other, RATIO DRAIN_WIDTH elements a beat. Beside
// the last beat of a set comes its last row: the last rows of a frame may be fewer, and what comes in for those missing is
// dropped. Sets of an encoder may be shorter (SEVERAL): they end with in_end. Two sets are held, one written while the other is
// read. A beat is read when a place of the FIFO at the output is free; the choice of its row has a register of its own.
`default_nettype none

module vp_mvau_reorder #(
    bit          SEVERAL      = 1'b0,
    int unsigned ROWS_PER_STEP = 2,
    int unsigned WORDS        = 4,  // beats of a set that come in, at most
    int unsigned RATIO        = 2,  // of these in a beat that goes out
    int unsigned WIDTH        = 32, // bits of DRAIN_WIDTH elements
    parameter    STYLE        = "auto",
    localparam int unsigned ROW_W = $clog2(ROWS_PER_STEP)
) (
    input  wire logic                          clk, rst_n,
    input  wire logic [ROWS_PER_STEP*WIDTH-1:0] in_data,   // row after row
    input  wire logic                          in_end,    // the last beat of a set
    input  wire logic [ROW_W-1:0]              in_last_row,
    input  wire logic                          in_valid,
    output      logic                          in_ready,
    output      logic [RATIO*WIDTH-1:0]        out_data,
    output      logic                          out_valid,
    input  wire logic                          out_ready
);
    localparam int unsigned BEATS = WORDS / RATIO;
    localparam int unsigned BEAT_ADDR_W = vp_pkg::width(BEATS);

    if (ROWS_PER_STEP < 2 || WORDS % RATIO != 0)
        $error("vp_mvau_reorder: %0d rows at once, %0d words, RATIO %0d do not fit", ROWS_PER_STEP, WORDS, RATIO);

    logic [1:0] full_q;

    // --- write ---
    logic w_half_q;
    logic [BEAT_ADDR_W-1:0] w_addr_q;
    logic [RATIO-1:0] w_bank_q;  // one hot
    assign in_ready = !full_q[w_half_q];
    wire logic take = in_valid && in_ready;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            w_half_q <= 1'b0;
            w_addr_q <= '0;
            w_bank_q <= RATIO'(1);
        end else if (take) begin
            w_bank_q <= w_bank_q[RATIO-1] ? RATIO'(1) : w_bank_q << 1;
            if (w_bank_q[RATIO-1]) begin
                w_addr_q <= in_end ? '0 : w_addr_q + 1'b1;
                w_half_q <= w_half_q ^ in_end;
            end
        end
    end

    // --- what a half holds ---
    typedef struct packed {
        logic one_beat;  // of a row
        logic [BEAT_ADDR_W-1:0] next_to_last_beat;
        logic [ROW_W-1:0] last_row;
    } set_t;
    set_t [1:0] sets_q;
    always_ff @(posedge clk) if (take && in_end) sets_q[w_half_q] <= set_t'{w_addr_q == '0, w_addr_q - 1'b1, in_last_row};

    // --- read ---
    logic r_half_q, r_last_q;
    logic [BEAT_ADDR_W-1:0] r_addr_q;
    logic [ROW_W-1:0] row_q, row;
    logic can_take;
    wire set_t set = sets_q[r_half_q];
    wire logic one_beat = SEVERAL ? set.one_beat : BEATS == 1;
    wire logic [BEAT_ADDR_W-1:0] next_to_last_beat = SEVERAL ? set.next_to_last_beat : BEAT_ADDR_W'(BEATS - 2);
    wire logic read = can_take && full_q[r_half_q];
    wire logic roin_end = one_beat || r_last_q;
    wire logic set_end = roin_end && row_q == set.last_row;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            r_half_q <= 1'b0;
            r_last_q <= 1'b0;
            r_addr_q <= '0;
            row_q    <= '0;
        end else if (read) begin
            r_addr_q <= roin_end ? '0 : r_addr_q + 1'b1;
            r_last_q <= !roin_end && r_addr_q == next_to_last_beat;
            if (roin_end) row_q <= set_end ? '0 : row_q + 1'b1;
            r_half_q <= r_half_q ^ set_end;
        end
    end
    always_ff @(posedge clk) begin
        if (!rst_n) full_q <= '0;
        else begin
            full_q <= (full_q | ({w_half_q, !w_half_q} & {2{take && in_end}}))
                      & ~({r_half_q, !r_half_q} & {2{read && set_end}});
        end
    end

    localparam int unsigned READ = STYLE == "block" ? 2 : 1;  // cycles of a read
    logic [ROWS_PER_STEP-1:0][RATIO*WIDTH-1:0] word;
    for (genvar t = 0; t < ROWS_PER_STEP; t++) begin : g_row
        for (genvar b = 0; b < RATIO; b++) begin : g_bank
            vp_ram #(.DEPTH(2 << BEAT_ADDR_W), .WIDTH(WIDTH), .STYLE(STYLE), .READ_LATENCY(READ)) ram (
                .clk, .we(take && w_bank_q[b]), .waddr({w_half_q, w_addr_q}), .wdata(in_data[t*WIDTH+:WIDTH]),
                .re({READ{1'b1}}), .zero(1'b0), .raddr({r_half_q, r_addr_q}), .rdata(word[t][b*WIDTH+:WIDTH])
            );
        end
    end

    logic [RATIO*WIDTH-1:0] beat_q;
    logic read_done, beat_valid_q;
    vp_delay #(.WIDTH(ROW_W), .LENGTH(READ)) rows (.clk, .rst_n(1'b1), .in(row_q), .out(row));
    vp_delay #(.WIDTH(1), .LENGTH(READ)) reads (.clk, .rst_n, .in(read), .out(read_done));
    always_ff @(posedge clk) begin
        beat_q       <= word[row];
        beat_valid_q <= rst_n && read_done;
    end
    vp_credit_fifo #(.WIDTH(RATIO * WIDTH), .DEPTH(16), .STYLE("distributed")) beats (
        .clk, .rst_n, .take(read), .can_take, .push(beat_valid_q), .push_data(beat_q), .out_data, .out_valid, .out_ready
    );
endmodule

`default_nettype wire
