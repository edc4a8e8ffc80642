// Puts the rows of the sparse-block matrix unit in order: takes DRAIN_WIDTH elements of each of ROWS_PER_STEP rows a
// beat, WORDS beats for these rows, and gives the rows one after the other, RATIO DRAIN_WIDTH elements a beat. The
// last rows of a frame may be fewer (LAST_ROWS), of SETS that a frame has; what comes in for those missing is
// dropped. Two sets are held, one written while the other is read. A beat is read when a place of the FIFO at the output is
// free; the choice of its row has a register of its own.
`default_nettype none

module vp_mvau_reorder #(
    int unsigned SETS         = 3,  // of a frame
    int unsigned LAST_ROWS    = 1,  // rows of its last set
    int unsigned ROWS_PER_STEP = 2,
    int unsigned WORDS        = 4,  // beats of a row that come in
    int unsigned RATIO        = 2,  // of these in a beat that goes out
    int unsigned WIDTH        = 32, // bits of DRAIN_WIDTH elements
    parameter    STYLE        = "auto"
) (
    input  wire logic                          clk,
    input  wire logic                          rst_n,
    input  wire logic [ROWS_PER_STEP*WIDTH-1:0] in_data,   // row after row
    input  wire logic                          in_valid,
    output      logic                          in_ready,
    output      logic [RATIO*WIDTH-1:0]        out_data,
    output      logic                          out_valid,
    input  wire logic                          out_ready
);
    localparam int unsigned BEATS = WORDS / RATIO;
    localparam int unsigned BEAT_ADDR_W = BEATS > 1 ? $clog2(BEATS) : 1;
    localparam int unsigned ROW_W = $clog2(ROWS_PER_STEP);
    localparam int unsigned SET_W = SETS > 1 ? $clog2(SETS) : 1;

    if (ROWS_PER_STEP < 2 || WORDS % RATIO != 0 || LAST_ROWS < 1 || LAST_ROWS > ROWS_PER_STEP) begin : g_check
        $error("vp_mvau_reorder: %0d rows at once, %0d words, RATIO %0d, LAST_ROWS %0d do not fit",
               ROWS_PER_STEP, WORDS, RATIO, LAST_ROWS);
    end

    logic [1:0] full_q;

    // --- write ---
    logic w_half_q, w_last_q;
    logic [BEAT_ADDR_W-1:0] w_addr_q;
    logic [RATIO-1:0] w_bank_q;  // one hot
    assign in_ready = !full_q[w_half_q];
    wire logic take = in_valid && in_ready;
    wire logic w_end = w_bank_q[RATIO-1] && (BEATS == 1 || w_last_q);
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            w_half_q <= 1'b0;
            w_last_q <= 1'b0;
            w_addr_q <= '0;
            w_bank_q <= RATIO'(1);
        end else if (take) begin
            w_bank_q <= w_bank_q[RATIO-1] ? RATIO'(1) : w_bank_q << 1;
            if (w_bank_q[RATIO-1]) begin
                w_addr_q <= w_end ? '0 : w_addr_q + 1'b1;
                w_last_q <= !w_end && w_addr_q == BEAT_ADDR_W'(BEATS - 2);
                w_half_q <= w_half_q ^ w_end;
            end
        end
    end

    // --- read ---
    logic r_half_q, r_last_q, last_set_q, last_row_q;
    logic [BEAT_ADDR_W-1:0] r_addr_q;
    logic [ROW_W-1:0] row_q, row;
    logic [SET_W-1:0] set_q;
    logic can_take;
    wire logic read = can_take && full_q[r_half_q];
    wire logic row_end = BEATS == 1 || r_last_q;
    wire logic set_end = row_end && last_row_q;
    wire logic frame_end = SETS == 1 || last_set_q;
    localparam logic LAST_IS_ONE_ROW = LAST_ROWS == 1;  // the last set has one row
    function automatic logic is_last_row(input logic [ROW_W-1:0] row, input logic last_set);
        return row == (last_set ? ROW_W'(LAST_ROWS - 1) : ROW_W'(ROWS_PER_STEP - 1));
    endfunction
    wire logic next_last_set = SETS == 1 || (!frame_end && set_q == SET_W'(SETS - 2));
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            r_half_q   <= 1'b0;
            r_last_q   <= 1'b0;
            r_addr_q   <= '0;
            row_q      <= '0;
            last_row_q <= SETS == 1 && LAST_IS_ONE_ROW;
            set_q      <= '0;
            last_set_q <= SETS == 1;
        end else begin
            if (read) begin
                r_addr_q <= row_end ? '0 : r_addr_q + 1'b1;
                r_last_q <= !row_end && r_addr_q == BEAT_ADDR_W'(BEATS - 2);
                if (set_end) begin
                    row_q      <= '0;
                    last_row_q <= next_last_set && LAST_IS_ONE_ROW;
                    set_q      <= frame_end ? '0 : set_q + 1'b1;
                    last_set_q <= next_last_set;
                    r_half_q   <= !r_half_q;
                end else if (row_end) begin
                    row_q      <= row_q + 1'b1;
                    last_row_q <= is_last_row(row_q + 1'b1, last_set_q);
                end
            end
        end
    end
    always_ff @(posedge clk) begin
        if (!rst_n) full_q <= '0;
        else begin
            full_q <= (full_q | ({w_half_q, !w_half_q} & {2{take && w_end}}))
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
