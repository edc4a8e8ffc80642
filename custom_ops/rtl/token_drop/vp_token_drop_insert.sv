// Ranks COUNT unique keys a frame by sorted insertion, one key a cycle: gives the smallest of the CELLS
// largest keys (INVERT 0) or the largest of the CELLS smallest keys (INVERT 1). The threshold is there two
// cycles after the last key, or as soon as it is taken, and idle pulses when the next keys may come.
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

    logic [WIDTH-1:0] key_q;
    logic [CELLS*WIDTH-1:0] cells_q;  // descending
    logic valid_q, first_q, last_q, out_valid_q, idle_q;
    always_ff @(posedge clk) key_q <= INVERT ? ~in_key : in_key;

    // A larger key pushes the smaller ones down; the first key of a frame clears the others.
    for (genvar i = 0; i < CELLS; i++) begin : g_cell
        wire logic [WIDTH-1:0] own = cells_q[i*WIDTH+:WIDTH];
        logic above;  // the key goes above this cell
        assign above = key_q > own;
        if (i == 0) begin : g_top
            always_ff @(posedge clk) begin
                if (valid_q && (first_q || above)) cells_q[i*WIDTH+:WIDTH] <= key_q;
            end
        end else begin : g_next
            wire logic [WIDTH-1:0] upper = cells_q[(i-1)*WIDTH+:WIDTH];
            always_ff @(posedge clk) begin
                if (valid_q) begin
                    if (first_q) cells_q[i*WIDTH+:WIDTH] <= '0;
                    else if (above) cells_q[i*WIDTH+:WIDTH] <= g_cell[i-1].above ? upper : key_q;
                end
            end
        end
    end

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            valid_q     <= 1'b0;
            first_q     <= 1'b1;
            out_valid_q <= 1'b0;
            idle_q      <= 1'b1;
        end else begin
            valid_q <= in_valid;
            if (valid_q) first_q <= last_q;
            if (valid_q && last_q) out_valid_q <= 1'b1;
            else if (out_ready) out_valid_q <= 1'b0;
            idle_q <= out_valid_q && out_ready;
        end
        last_q <= in_last;
    end
    assign threshold = INVERT ? ~cells_q[(CELLS-1)*WIDTH+:WIDTH] : cells_q[(CELLS-1)*WIDTH+:WIDTH];
    assign idle      = idle_q;
    assign out_valid = out_valid_q;
endmodule

`default_nettype wire
