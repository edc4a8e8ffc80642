// Ranks unique keys of a frame by sorted insertion, one key a cycle: gives the smallest of the CELLS largest keys
// (INVERT 0) or the largest of the CELLS smallest keys (INVERT 1). The cells are a chain, descending: a cell keeps
// the larger one of its key and the key that comes, and hands on the other a cycle later, so no net leaves it. The
// threshold is there CELLS + 1 cycles after the last key; idle pulses when it is taken and the next keys may come.
`default_nettype none

module vp_token_drop_insert #(
    int unsigned CELLS  = 4,
    int unsigned WIDTH  = 21,
    bit          INVERT = 1'b0
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [WIDTH-1:0] in_key,
    input  wire logic             in_valid,
    input  wire logic             in_last,
    output      logic             idle,
    output      logic [WIDTH-1:0] threshold,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    if (CELLS < 1) begin : g_check
        $error("vp_token_drop_insert: CELLS %0d must be at least 1", CELLS);
    end

    // What comes to each cell: a key, or 0, which changes none; the first key of a frame replaces what the cell holds.
    logic [CELLS-1:0][WIDTH-1:0] key_q, cell_q;
    logic [CELLS-1:0] first_q, last_q;
    logic start_q;  // the next key is the first of its frame
    for (genvar i = 0; i < CELLS; i++) begin : g_cell
        wire logic above = key_q[i] > cell_q[i];
        always_ff @(posedge clk) begin
            if (first_q[i] || above) cell_q[i] <= key_q[i];
        end
        if (i == 0) begin : g_top
            always_ff @(posedge clk) begin
                if (!in_valid) key_q[0] <= '0;
                else key_q[0] <= INVERT ? ~in_key : in_key;
            end
        end else begin : g_next
            always_ff @(posedge clk) begin
                if (first_q[i-1]) key_q[i] <= '0;
                else key_q[i] <= g_cell[i-1].above ? cell_q[i-1] : key_q[i-1];
            end
        end
    end

    logic out_valid_q, idle_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            start_q     <= 1'b1;
            first_q     <= '0;
            last_q      <= '0;
            out_valid_q <= 1'b0;
            idle_q      <= 1'b1;
        end else begin
            if (in_valid) start_q <= in_last;
            first_q <= CELLS'({first_q, in_valid && start_q});
            last_q  <= CELLS'({last_q, in_valid && in_last});
            if (last_q[CELLS-1]) out_valid_q <= 1'b1;
            else if (out_ready) out_valid_q <= 1'b0;
            idle_q <= out_valid_q && out_ready;
        end
    end
    assign threshold = INVERT ? ~cell_q[CELLS-1] : cell_q[CELLS-1];
    assign idle      = idle_q;
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
