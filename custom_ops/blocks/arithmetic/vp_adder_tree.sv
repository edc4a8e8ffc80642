// Sum of NUM signed terms, or with MAXIMUM the largest of them, cut or sign-extended to SUM_WIDTH. Of every
// level 2^RADIX nodes go to one of the next, after a register: LATENCY is clog2(NUM) / RADIX, rounded up.
// With CARRY a term is {value, carry of weight 1}: an adder takes one carry in at its carry input, so that
// of NUM carries one is left over, which stands below the sum and is for the adder that follows.
// en advances all levels together; there is no reset, carry a valid bit beside it.
`default_nettype none

module vp_adder_tree #(
    int unsigned NUM       = 4,
    int unsigned WIDTH     = 16,
    int unsigned SUM_WIDTH = WIDTH + $clog2(NUM),
    int unsigned RADIX     = 1,
    bit          CARRY     = 1'b0,
    bit          MAXIMUM   = 1'b0
) (
    input  wire logic                 clk,
    input  wire logic                 en,
    input  wire logic [NUM*WIDTH-1:0] terms,
    output      logic signed [SUM_WIDTH-1:0] sum
);
    if (NUM < 1 || RADIX < 1 || SUM_WIDTH < WIDTH || WIDTH < 1 + 32'(CARRY) || (CARRY && RADIX > 1))
        $error("vp_adder_tree: NUM %0d and RADIX %0d must be at least 1, SUM_WIDTH %0d at least WIDTH %0d", NUM, RADIX, SUM_WIDTH, WIDTH);
    localparam int unsigned LEVELS = ($clog2(NUM) + RADIX - 1) / RADIX;

    function automatic int unsigned nodes(int unsigned level);
        nodes = (NUM + (1 << (RADIX * level)) - 1) >> (RADIX * level);
    endfunction
    function automatic int unsigned bits(int unsigned level);
        bits = WIDTH + RADIX * level < SUM_WIDTH ? WIDTH + RADIX * level : SUM_WIDTH;
    endfunction

    for (genvar l = 0; l <= LEVELS; l++) begin : g_level
        localparam int unsigned W = bits(l);
        logic [nodes(l)*W-1:0] value;
        if (l == 0) begin : g_terms
            assign value = terms;
        end else begin : g_add
            localparam int unsigned V = bits(l - 1);
            for (genvar i = 0; i < nodes(l); i++) begin : g_node
                localparam int unsigned FIRST = i << RADIX;
                localparam int unsigned LEFT = nodes(l - 1) - FIRST;
                localparam int unsigned N = LEFT < (1 << RADIX) ? LEFT : 1 << RADIX;
                wire logic [N*V-1:0] part = g_level[l-1].value[FIRST*V+:N*V];
                logic signed [W-1:0] total;
                always_comb begin
                    total = W'($signed(part[V-1:0]));
                    for (int unsigned k = 1; k < N; k++) begin
                        logic signed [W-1:0] term;
                        term = W'($signed(part[k*V+:V]));
                        if (CARRY) begin
                            total = {total[W-1:1], 1'b1} + {term[W-1:1], total[0]};
                            total[0] = term[0];
                        end else if (!MAXIMUM) total = total + term;
                        else if (term > total) total = term;
                    end
                end
                always_ff @(posedge clk) if (en) value[i*W+:W] <= total;
            end
        end
    end
    assign sum = SUM_WIDTH'($signed(g_level[LEVELS].value));
endmodule

`default_nettype wire
