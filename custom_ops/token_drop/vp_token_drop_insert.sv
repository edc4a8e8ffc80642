// Ranks unique keys of a frame by sorted insertion, one key a cycle: gives the smallest of the CELLS largest keys, or with
// invert the largest of the CELLS smallest keys. The cells are a chain, descending: a cell keeps the larger one of its key and
// the key that comes, and hands on the other a cycle later, so no net leaves it. The threshold is there CELLS + 1 cycles after
// the last key; idle pulses when it is taken and the next keys may come.
// With PADDED the cells are as many as are needed at most: in each frame, before its keys, pads of the cells are given a key that
// is above all others. idle pulses behind these, and behind those after reset.
`default_nettype none

module vp_token_drop_insert #(
    int unsigned CELLS  = 4,
    int unsigned WIDTH  = 21,
    bit          PADDED = 1'b0,
    localparam int unsigned CELL_W = $clog2(CELLS + 1)
) (
    input  wire logic             clk, rst_n,
    input  wire logic [WIDTH-1:0] in_key,
    input  wire logic             in_valid,
    input  wire logic             in_last,
    input  wire logic             invert,
    input  wire logic [CELL_W-1:0] pads,
    output      logic             idle,
    output      logic [WIDTH-1:0] threshold,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    if (CELLS < 1) $error("vp_token_drop_insert: CELLS %0d must be at least 1", CELLS);

    // What comes to each cell: a key, or 0, which changes none; the first key of a frame replaces what the cell holds.
    logic [CELLS-1:0][WIDTH-1:0] key_q, cell_q;
    logic [CELLS-1:0] first_q, last_q;
    logic start_q;  // the next key is the first of its frame
    logic pad;      // a key above all others comes
    wire logic key_valid = in_valid || pad;
    for (genvar i = 0; i < CELLS; i++) begin : g_cell
        wire logic above = key_q[i] > cell_q[i];
        always_ff @(posedge clk) begin
            if (first_q[i] || above) cell_q[i] <= key_q[i];
        end
        if (i == 0) begin : g_top
            always_ff @(posedge clk) begin
                if (pad) key_q[0] <= '1;
                else if (!in_valid) key_q[0] <= '0;
                else key_q[0] <= invert ? ~in_key : in_key;
            end
        end else begin : g_next
            always_ff @(posedge clk) begin
                if (first_q[i-1]) key_q[i] <= '0;
                else key_q[i] <= g_cell[i-1].above ? cell_q[i-1] : key_q[i-1];
            end
        end
    end

    logic out_valid_q;
    wire logic leave = out_valid_q && out_ready;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            start_q     <= 1'b1;
            first_q     <= '0;
            last_q      <= '0;
            out_valid_q <= 1'b0;
        end else begin
            if (key_valid) start_q <= in_valid && in_last;
            first_q <= CELLS'({first_q, key_valid && start_q});
            last_q  <= CELLS'({last_q, in_valid && in_last});
            if (last_q[CELLS-1]) out_valid_q <= 1'b1;
            else if (out_ready) out_valid_q <= 1'b0;
        end
    end

    logic idle_q;
    if (PADDED) begin : g_padded
        logic padding_q;
        logic [CELL_W-1:0] left_q;
        wire logic padded = left_q == '0;
        assign pad = padding_q && !padded;
        always_ff @(posedge clk) begin
            if (!rst_n || leave) begin
                padding_q <= 1'b1;
                left_q    <= pads;
            end else if (padding_q) begin
                padding_q <= !padded;
                left_q    <= left_q - 1'b1;
            end
            idle_q <= rst_n && padding_q && padded;
        end
    end else begin : g_as_many
        assign pad = 1'b0;
        always_ff @(posedge clk) idle_q <= !rst_n || leave;
    end
    assign threshold = invert ? ~cell_q[CELLS-1] : cell_q[CELLS-1];
    assign idle      = idle_q;
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
