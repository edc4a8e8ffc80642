// The scales of tokens (vp_layernorm_rsqrt) by ROOTS square roots in turn, so that a token may start every 36 / ROOTS
// cycles. All roots take equally long, so scales come in the order of tokens, and no two in a cycle.
// in_ready comes four cycles after the start of a token. A token starts only while its eps, mult and top are known; after
// in_ready it needs them no longer. With CENTRED 0 the offset is 0 and is not kept.
`default_nettype none

module vp_layernorm_scales #(
    int unsigned  D         = 48,
    int unsigned  S1_WIDTH  = 22,
    int unsigned  S2_WIDTH  = 37,
    int unsigned  E_WIDTH   = 5,
    int unsigned  ROOTS     = 1,
    parameter     SEED_FILE = "",
    bit           CENTRED   = 1'b1
) (
    input  wire logic                       clk, rst_n,
    input  wire logic [S1_WIDTH-1:0]        s1,
    input  wire logic [S2_WIDTH-1:0]        s2,
    input  wire logic                       in_valid,
    output      logic                       in_ready,
    input  wire logic [50:0]                eps,
    input  wire logic [16:0]                mult,
    input  wire logic [E_WIDTH-1:0]         top,
    input  wire logic                       known,
    output      logic [36:0]                gain,
    output      logic [52:0]                offset,
    output      logic [E_WIDTH-1:0]         e,
    output      logic                       out_valid,
    input  wire logic                       out_ready
);
    typedef struct packed {
        logic [36:0] gain;
        logic [52:0] offset;
        logic [E_WIDTH-1:0] e;
    } scale_t;

    logic can_take, ready_q;
    logic [ROOTS-1:0] turn_q, go, near_end, done;
    scale_t [ROOTS-1:0] scale;
    for (genvar i = 0; i < ROOTS; i++) begin : g_root
        logic free;
        assign go[i] = turn_q[i] && free && in_valid && known && can_take;
        vp_layernorm_rsqrt #(
            .D(D), .S1_WIDTH(S1_WIDTH), .S2_WIDTH(S2_WIDTH), .E_WIDTH(E_WIDTH), .SEED_FILE(SEED_FILE)
        ) root (
            .clk, .rst_n, .go(go[i]), .free, .s1, .s2, .eps, .mult, .top, .near_end(near_end[i]),
            .gain(scale[i].gain), .offset(scale[i].offset), .e(scale[i].e), .done(done[i])
        );
    end
    assign in_ready = ready_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            ready_q <= 1'b0;
            turn_q  <= ROOTS'(1);
        end else begin
            ready_q <= |near_end;
            if (ready_q) turn_q <= ROOTS'({turn_q, turn_q[ROOTS-1]});
        end
    end

    scale_t made;
    always_comb begin
        made = scale[0];
        for (int i = 1; i < ROOTS; i++) if (done[i]) made = scale[i];
    end
    // Tokens that wait for the lanes count as under way.
    if (CENTRED) begin : g_offset
        vp_credit_fifo #(.WIDTH($bits(scale_t)), .DEPTH(2 * ROOTS + 1)) scales (
            .clk, .rst_n, .take(|go), .can_take, .push(|done), .push_data(made),
            .out_data({gain, offset, e}), .out_valid, .out_ready
        );
    end else begin : g_gain_alone
        assign offset = '0;
        vp_credit_fifo #(.WIDTH(37 + E_WIDTH), .DEPTH(2 * ROOTS + 1)) scales (
            .clk, .rst_n, .take(|go), .can_take, .push(|done), .push_data({made.gain, made.e}),
            .out_data({gain, e}), .out_valid, .out_ready
        );
    end
endmodule

`default_nettype wire
