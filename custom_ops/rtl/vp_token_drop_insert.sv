// Ranks COUNT unique keys a frame by sorted insertion, one key a cycle: gives the smallest of the CELLS
// largest keys (INVERT 0) or the largest of the CELLS smallest keys (INVERT 1). The threshold is there
// two cycles after the last key, in a register of its own, so that the next frame can be ranked
// meanwhile; a frame takes COUNT + 1 cycles.
`default_nettype none

module vp_token_drop_insert #(
    int unsigned COUNT  = 16,
    int unsigned CELLS  = 4,
    int unsigned WIDTH  = 21,
    bit          INVERT = 1'b0
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [WIDTH-1:0] in_key,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [WIDTH-1:0] threshold,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    if (CELLS < 1 || CELLS > COUNT) begin : g_check
        $error("vp_token_drop_insert: CELLS %0d must be 1 to COUNT %0d", CELLS, COUNT);
    end
    localparam int unsigned CW = COUNT > 1 ? $clog2(COUNT) : 1;

    logic [CW-1:0] index_q;
    logic [WIDTH-1:0] key_q, threshold_q;
    logic [CELLS*WIDTH-1:0] cells_q;  // descending
    logic valid_q, first_q, last_q, done_q, out_valid_q;
    assign in_ready = !done_q;

    always_ff @(posedge clk) begin
        if (!done_q) begin
            key_q   <= INVERT ? ~in_key : in_key;
            first_q <= index_q == '0;
            last_q  <= index_q == CW'(COUNT - 1);
        end
    end

    // A larger key pushes the smaller ones down; the first key of a frame clears the others.
    for (genvar i = 0; i < CELLS; i++) begin : g_cell
        wire logic [WIDTH-1:0] own = cells_q[i*WIDTH+:WIDTH];
        logic above;  // the key goes above this cell
        assign above = key_q > own;
        if (i == 0) begin : g_top
            always_ff @(posedge clk) begin
                if (valid_q && !done_q && (first_q || above)) cells_q[i*WIDTH+:WIDTH] <= key_q;
            end
        end else begin : g_next
            wire logic [WIDTH-1:0] upper = cells_q[(i-1)*WIDTH+:WIDTH];
            always_ff @(posedge clk) begin
                if (valid_q && !done_q) begin
                    if (first_q) cells_q[i*WIDTH+:WIDTH] <= '0;
                    else if (above) cells_q[i*WIDTH+:WIDTH] <= g_cell[i-1].above ? upper : key_q;
                end
            end
        end
    end

    wire logic move = done_q && (!out_valid_q || out_ready);
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            index_q     <= '0;
            valid_q     <= 1'b0;
            done_q      <= 1'b0;
            out_valid_q <= 1'b0;
        end else begin
            if (!done_q) begin
                valid_q <= in_valid;
                if (in_valid) index_q <= index_q == CW'(COUNT - 1) ? '0 : index_q + 1'b1;
            end
            if (move) done_q <= 1'b0;
            else if (!done_q) done_q <= valid_q && last_q;
            if (move) out_valid_q <= 1'b1;
            else if (out_ready) out_valid_q <= 1'b0;
        end
    end
    always_ff @(posedge clk) begin
        if (move) threshold_q <= cells_q[(CELLS-1)*WIDTH+:WIDTH];
    end
    assign threshold = INVERT ? ~threshold_q : threshold_q;
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
