// Sum or maximum of NUM signed terms, four at a time with a register behind each level.
// Latency is ($clog2(NUM) + 1) / 2 cycles: none for a single term. Free running, no valid.
`default_nettype none

module vp_attention_tree #(
    int unsigned NUM       = 4,
    int unsigned IN_WIDTH  = 18,
    int unsigned OUT_WIDTH = 20,
    bit          MAXIMUM   = 1'b0
) (
    input  wire logic                    clk,
    input  wire logic [NUM*IN_WIDTH-1:0] terms,
    output      logic [OUT_WIDTH-1:0]    result
);
    localparam int unsigned LEVELS = ($clog2(NUM) + 1) / 2;
    localparam int unsigned GROWTH = MAXIMUM ? 0 : 2;

    if (NUM < 1 || OUT_WIDTH < IN_WIDTH) begin : g_check
        $error("vp_attention_tree: NUM %0d must be at least 1, OUT_WIDTH %0d at least IN_WIDTH %0d",
               NUM, OUT_WIDTH, IN_WIDTH);
    end

    for (genvar l = 0; l <= LEVELS; l++) begin : g_level
        localparam int unsigned COUNT = (NUM + (1 << (2 * l)) - 1) >> (2 * l);
        localparam int unsigned FULL = IN_WIDTH + GROWTH * l;
        localparam int unsigned WIDTH = FULL < OUT_WIDTH ? FULL : OUT_WIDTH;
        logic [COUNT*WIDTH-1:0] node;
        if (l == 0) begin : g_terms
            assign node = terms;
        end else begin : g_nodes
            localparam int unsigned PREV = (NUM + (1 << (2 * l - 2)) - 1) >> (2 * l - 2);
            localparam int unsigned BELOW = IN_WIDTH + GROWTH * (l - 1);
            localparam int unsigned PW = BELOW < OUT_WIDTH ? BELOW : OUT_WIDTH;
            for (genvar i = 0; i < COUNT; i++) begin : g_node
                localparam int unsigned N = PREV - 4 * i < 4 ? PREV - 4 * i : 4;
                logic signed [WIDTH-1:0] value;
                wire logic [N*PW-1:0] part = g_level[l-1].node[4*i*PW+:N*PW];
                always_comb begin
                    value = WIDTH'($signed(part[PW-1:0]));
                    for (int unsigned k = 1; k < N; k++) begin
                        logic signed [WIDTH-1:0] term;
                        term = WIDTH'($signed(part[k*PW+:PW]));
                        if (!MAXIMUM) value = value + term;
                        else if (term > value) value = term;
                    end
                end
                always_ff @(posedge clk) node[i*WIDTH+:WIDTH] <= value;
            end
        end
    end
    assign result = OUT_WIDTH'($signed(g_level[LEVELS].node));
endmodule

`default_nettype wire
