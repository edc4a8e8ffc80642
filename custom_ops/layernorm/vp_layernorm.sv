// Integer LayerNorm over tokens of D signed 16-bit codes, SIMD a beat, without gamma and beta.
// A token is summed (stats), then its scale is made (scales: a reciprocal square root takes 36 cycles, and ROOTS work in
// turn), then it leaves; so a token takes the larger of D/SIMD and 36/ROOTS cycles. The codes wait in RAMs of HELD
// words. Nothing stands still on its way: a beat comes in only where a word is free, and is read only where the FIFO at the
// output has a place for it.
// Every encoder has constants of its own: SHAPES are those of vp_engine_frame, its numbers those of numbers_t. Its shift is LEAST_SHIFT
// and more; what is more is part of a token's exponent e, MOST_E at most.
// With CENTRED 0 it is an RMSNorm: S1 is 0, and no hardware is there for it.
// With ROW_W over 0 the last of every few tokens are no norms: they leave as clip(round_half_even(x 2^-(16 - OUT_WIDTH))). For heads, which are
// tokens here. ROWS has of every encoder (vp_engine_frame) how many tokens belong together, and which of them are the last ones.
`default_nettype none

module vp_layernorm #(
    int unsigned D         = 48,
    int unsigned SIMD      = 4,
    int unsigned ROOTS     = 1,
    int unsigned OUT_WIDTH = 8,
    int unsigned ENCODERS  = 1,
    int unsigned TOKEN_W   = 4,   // of a frame's tokens
    int unsigned LEAST_SHIFT = 12,
    int unsigned MOST_E    = 25,
    parameter logic [ENCODERS*224-1:0] SHAPES = '0,
    parameter    SEED_FILE = "",
    bit          CENTRED   = 1'b1,
    int unsigned ROW_W     = 0,   // of tokens that belong together
    parameter logic [ENCODERS*160-1:0] ROWS = '0,
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    localparam int unsigned OUT_BITS = (SIMD * OUT_WIDTH + 7) / 8 * 8
) (
    input  wire logic                clk, rst_n,
    input  wire logic [SIMD*16-1:0]  in0_tdata,
    input  wire logic                in0_tvalid,
    output      logic                in0_tready,
    output      logic [OUT_BITS-1:0] out0_tdata,
    output      logic                out0_tvalid,
    input  wire logic                out0_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic                encoder_valid,
    output      logic                encoder_ready,
    input  wire logic [33:0]         load_in,
    output      logic [33:0]         load_out
);
    if (D < 2 || D > 1664 || SIMD < 1 || D % SIMD != 0 || OUT_WIDTH < 2 || OUT_WIDTH > 8)
        $error("vp_layernorm: D %0d, SIMD %0d or OUT_WIDTH %0d out of range", D, SIMD, OUT_WIDTH);
    localparam int unsigned BEATS = D / SIMD;
    localparam int unsigned BEAT_W = vp_pkg::width(BEATS);
    localparam int unsigned S1_WIDTH = 16 + $clog2(D);
    localparam int unsigned S2_WIDTH = 31 + $clog2(D);

    // Lanes by groups, each a cycle after the one before, so that no register drives all of them.
    localparam int unsigned LANES = 32;
    localparam int unsigned GROUPS = (SIMD + LANES - 1) / LANES;

    // Words for the beats that are on their way where tokens come every PERIOD cycles, with some for waits: a beat
    // keeps its word for WAIT cycles.
    localparam int unsigned ROOT = (36 + ROOTS - 1) / ROOTS;
    localparam int unsigned LEAST = ROOT > 8 + GROUPS ? ROOT : 8 + GROUPS;  // or a scale's turn at the lanes
    localparam int unsigned PERIOD = BEATS > LEAST ? BEATS : LEAST;
    localparam int unsigned WAIT = BEATS + 55 + $clog2(SIMD);
    localparam int unsigned LATE = WAIT % PERIOD < BEATS ? WAIT % PERIOD : BEATS;
    localparam int unsigned UNEVEN = BEATS < PERIOD ? 2 * BEATS : 0;  // roots that wait for sums start one after another
    localparam int unsigned HELD = WAIT / PERIOD * BEATS + LATE + UNEVEN + (ROOTS * PERIOD > 36 ? 7 : 2);
    localparam int unsigned HELD_W = $clog2(HELD);
    localparam int unsigned COUNT_W = $clog2(HELD + 1);
    localparam int unsigned RAM_LATENCY = HELD_W > 6 ? 2 : 1;
    localparam int unsigned LATENCY = RAM_LATENCY + 8 + GROUPS - 1;  // from take to the result

    localparam int unsigned E_WIDTH = $clog2(MOST_E + 1);
    typedef struct packed {
        logic [63:0] eps;
        logic [31:0] mult;
        logic [31:0] top;  // e of the largest v
    } numbers_t;

    logic take;  // a beat is read

    // Input: a register, then the sums and the RAMs.
    logic [SIMD*16-1:0] x_q;
    logic x_valid_q, ready_q;
    logic [COUNT_W-1:0] free_q;  // words that no beat has
    logic [HELD_W-1:0] waddr_q;
    wire logic accept = in0_tvalid && ready_q;
    assign in0_tready = ready_q;
    always_ff @(posedge clk) begin
        x_q <= in0_tdata;
        if (!rst_n) begin
            x_valid_q <= 1'b0;
            waddr_q   <= '0;
            free_q    <= COUNT_W'(HELD);
            ready_q   <= 1'b0;
        end else begin
            x_valid_q <= accept;
            if (x_valid_q) waddr_q <= waddr_q + 1'b1;
            if (accept && !take) begin
                free_q  <= free_q - 1'b1;
                ready_q <= free_q != COUNT_W'(1);
            end else if (take && !accept) begin
                free_q  <= free_q + 1'b1;
                ready_q <= 1'b1;
            end else begin
                ready_q <= free_q != '0;
            end
        end
    end

    logic [S1_WIDTH-1:0] s1;
    logic [S2_WIDTH-1:0] s2;
    logic sums_valid, sums_ready;
    vp_layernorm_stats #(
        .BEATS(BEATS), .SIMD(SIMD), .S1_WIDTH(S1_WIDTH), .S2_WIDTH(S2_WIDTH), .TOKENS(HELD / BEATS), .CENTRED(CENTRED)
    ) stats (
        .clk, .rst_n, .in_data(x_q), .in_valid(x_valid_q),
        .s1, .s2, .out_valid(sums_valid), .out_ready(sums_ready)
    );
    // A token's constants are used where its scale is made, those of heads where it leaves.
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS);
    numbers_t constant;
    logic known, rows_known;
    logic [1:0] tag_valid, tag_ready;
    logic [TAG_W-1:0] tag;
    logic [33:0] chain;
    if (ROW_W > 0) begin : g_tags
        vp_fork #(.WIDTH(TAG_W), .NUM(2)) tags (
            .clk, .rst_n, .in_data(encoder), .in_valid(encoder_valid), .in_ready(encoder_ready),
            .out_data(tag), .out_valid(tag_valid), .out_ready(tag_ready)
        );
    end else begin : g_tag
        assign tag = encoder;
        assign tag_valid = {1'b0, encoder_valid};
        assign encoder_ready = tag_ready[0];
    end
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .COUNT_W(TOKEN_W), .FIELDS($bits(numbers_t) / 32), .SHAPES(SHAPES), .LOADED(LOADED),
        .FILE({UNIT, "_shapes.fill"})
    ) frame (
        .clk, .rst_n, .load_in, .load_out(chain),
        .encoder(tag), .encoder_valid(tag_valid[0]), .encoder_ready(tag_ready[0]),
        .value(constant), .of(), .known, .step(sums_ready), .count(), .last()
    );
    logic [36:0] made_gain, gain;
    logic [52:0] made_offset, offset;
    logic [E_WIDTH-1:0] made_e, e;
    logic scale_valid, scale_ready;
    vp_layernorm_scales #(
        .D(D), .S1_WIDTH(S1_WIDTH), .S2_WIDTH(S2_WIDTH), .E_WIDTH(E_WIDTH), .ROOTS(ROOTS), .SEED_FILE(SEED_FILE),
        .CENTRED(CENTRED)
    ) scales (
        .clk, .rst_n, .s1, .s2, .in_valid(sums_valid), .in_ready(sums_ready),
        .eps(constant.eps[50:0]), .mult(constant.mult[16:0]), .top(constant.top[E_WIDTH-1:0]), .known,
        .gain(made_gain), .offset(made_offset), .e(made_e), .out_valid(scale_valid), .out_ready(scale_ready)
    );
    if (ROW_W > 0) begin : g_pass
        // Lanes shift by 8 + LEAST_SHIFT + e; what that is too much is in the gain.
        localparam int unsigned DROP = 16 - OUT_WIDTH;
        localparam int unsigned PASS_E = DROP > 8 + LEAST_SHIFT ? DROP - 8 - LEAST_SHIFT : 0;
        typedef struct packed {
            logic [31:0] last;    // of those that belong together
            logic [31:0] normed;  // how many of them, less one
        } rows_t;
        rows_t of_token;
        logic [ROW_W-1:0] row_q;
        logic pass_q;
        wire logic last_row = row_q == ROW_W'(of_token.last);
        vp_engine_frame #(
            .ENCODERS(ENCODERS), .COUNT_W(TOKEN_W), .FIELDS($bits(rows_t) / 32), .SHAPES(ROWS), .LOADED(LOADED),
            .FILE({UNIT, "_rows.fill"})
        ) rows (
            .clk, .rst_n, .load_in(chain), .load_out, .encoder(tag), .encoder_valid(tag_valid[1]), .encoder_ready(tag_ready[1]),
            .value(of_token), .of(), .known(rows_known), .step(scale_valid && scale_ready), .count(), .last()
        );
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                row_q  <= '0;
                pass_q <= 1'b0;
            end else if (scale_valid && scale_ready) begin  // a load from before a reset takes no scale
                row_q  <= last_row ? '0 : row_q + 1'b1;
                pass_q <= !last_row && row_q >= ROW_W'(of_token.normed);
            end
        end
        assign gain   = pass_q ? 37'd1 << (8 + LEAST_SHIFT + PASS_E - DROP) : made_gain;
        assign offset = pass_q ? '0 : made_offset;
        assign e      = pass_q ? E_WIDTH'(PASS_E) : made_e;
    end else begin : g_all
        assign {gain, offset, e} = {made_gain, made_offset, made_e};
        assign rows_known = 1'b1;
        assign tag_ready[1] = 1'b1;
        assign load_out = chain;
    end

    // Output: a token's beats are read once its scale is known. The lanes load the scale, each part when the token's
    // first beat can be there; it stays for LOADS cycles.
    localparam int unsigned LOADS = 7 + GROUPS;
    logic [BEAT_W-1:0] left_q;  // beats of the token after the next one
    logic active_q, loading_q, last_q, can_take;
    logic [LOADS-1:0] load_q;
    logic [GROUPS-1:0][HELD_W-1:0] raddr_q;
    assign take = active_q && can_take;
    assign scale_ready = load_q[LOADS-1];
    wire logic start = scale_valid && rows_known && !loading_q && (!active_q || (take && last_q));
    always_ff @(posedge clk) begin
        load_q <= {load_q[LOADS-2:0], start};
        if (!rst_n) begin
            active_q  <= 1'b0;
            loading_q <= 1'b0;
            left_q    <= BEAT_W'(BEATS - 1);
            last_q    <= BEATS == 1;
            raddr_q   <= '0;
        end else begin
            active_q  <= start || (active_q && !(take && last_q));
            loading_q <= start || (loading_q && !scale_ready);
            raddr_q   <= (GROUPS * HELD_W)'({raddr_q, raddr_q[0] + HELD_W'(take)});
            if (take) begin
                left_q <= last_q ? BEAT_W'(BEATS - 1) : left_q - 1'b1;
                last_q <= BEATS == 1 || left_q == BEAT_W'(1);
            end
        end
    end

    logic [OUT_BITS-1:0] y;
    logic y_valid;
    vp_delay #(.WIDTH(1), .LENGTH(LATENCY)) valid (.clk, .rst_n, .in(take), .out(y_valid));
    for (genvar g = 0; g < GROUPS; g++) begin : g_group
        localparam int unsigned FIRST = g * LANES;
        localparam int unsigned N = SIMD - FIRST < LANES ? SIMD - FIRST : LANES;
        logic [N*OUT_WIDTH-1:0] early;
        vp_layernorm_lanes #(
            .LANES(N), .OUT_WIDTH(OUT_WIDTH), .SHIFT(LEAST_SHIFT), .MOST_E(MOST_E), .WORDS(1 << HELD_W), .RAM_LATENCY(RAM_LATENCY),
            .CENTRED(CENTRED)
        ) lanes (
            .clk, .we(x_valid_q), .waddr(waddr_q), .wdata(x_q[FIRST*16+:N*16]), .raddr(raddr_q[g]),
            .load(load_q[RAM_LATENCY+g+:6]), .gain, .offset, .e, .y(early)
        );
        vp_delay #(.WIDTH(N * OUT_WIDTH), .LENGTH(GROUPS - 1 - g)) align (
            .clk, .rst_n(1'b1), .in(early), .out(y[FIRST*OUT_WIDTH+:N*OUT_WIDTH])
        );
    end
    if (OUT_BITS > SIMD * OUT_WIDTH) begin : g_pad
        assign y[OUT_BITS-1:SIMD*OUT_WIDTH] = '0;
    end
    vp_credit_fifo #(.WIDTH(OUT_BITS), .DEPTH(LATENCY + 3)) leaving (
        .clk, .rst_n, .take, .can_take, .push(y_valid), .push_data(y),
        .out_data(out0_tdata), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
endmodule

`default_nettype wire
