// Chooses one of N words: one of four a level, with a register after each, so that one LUT lies between registers. The word comes
// LATENCY cycles after the words and their choice. Never stalls, no reset.
`default_nettype none

module vp_choose #(
    int unsigned N     = 8,
    int unsigned WIDTH = 8,
    localparam int unsigned CHOICE_W = vp_pkg::width(N),
    localparam int unsigned LATENCY = (CHOICE_W + 1) / 2
) (
    input  wire logic                clk,
    input  wire logic [N*WIDTH-1:0]  words,   // the first lowest
    input  wire logic [CHOICE_W-1:0] choice,
    output      logic [WIDTH-1:0]    word
);
    if (N < 1 || WIDTH < 1) $error("vp_choose: N %0d and WIDTH %0d must be at least 1", N, WIDTH);

    for (genvar l = 0; l < LATENCY; l++) begin : g_level
        localparam int unsigned LEFT = (N + (1 << 2 * l) - 1) >> 2 * l;  // words
        localparam int unsigned FOURS = (LEFT + 3) / 4;
        logic [LEFT-1:0][WIDTH-1:0] left;
        logic [FOURS-1:0][3:0][WIDTH-1:0] fours;  // the last word again where there are fewer, so that none takes a LUT alone
        logic [2*LATENCY-1:0] which;  // of the words, the next levels' choice above
        logic [FOURS-1:0][WIDTH-1:0] chosen_q;
        logic [2*LATENCY-1:0] which_q;
        always_comb begin
            for (int unsigned i = 0; i < 4 * FOURS; i++) fours[i/4][i%4] = left[i<LEFT ? i : LEFT-1];
        end
        always_ff @(posedge clk) begin
            for (int unsigned i = 0; i < FOURS; i++) chosen_q[i] <= fours[i][which[1:0]];
            which_q <= which >> 2;
        end
        if (l == 0) begin : g_first
            assign left  = words;
            assign which = (2 * LATENCY)'(choice);
        end else begin : g_next
            assign left  = g_level[l-1].chosen_q;
            assign which = g_level[l-1].which_q;
        end
    end
    assign word = g_level[LATENCY-1].chosen_q[0];
endmodule

`default_nettype wire
