// Ranks at most COUNT keys a frame by counting: finds the k-th largest key (threshold), keep being k - 1, and how many keys equal
// to it are among the k largest, less one (ties). Every key is counted, as it comes, under its upper
// bits in LEVELS histograms, each finer than the one above; then the histograms are searched from the top
// bin down, level by level, each within the bin found above. DIGITS holds one hexadecimal digit a level,
// the top level first: the bits that the level adds; together they are the WIDTH bits of a key. The result
// is there 4 LEVELS + 5 cycles and the sum of 2^digit after the last key, whatever the keys; then the bins are
// swept clean in 2^WIDTH cycles, in which, and after reset, no key is taken. idle pulses when keys may come.
`default_nettype none

module vp_token_drop_histogram #(
    int unsigned COUNT  = 196,
    int unsigned WIDTH  = 12,
    int unsigned LEVELS = 3,
    int unsigned DIGITS = 'h345,
    localparam int unsigned COUNT_W = $clog2(COUNT + 1)
) (
    input  wire logic             clk, rst_n,
    input  wire logic [WIDTH-1:0] in_key,
    input  wire logic             in_valid,
    input  wire logic             in_last,
    input  wire logic [COUNT_W-1:0] keep,
    output      logic             idle,
    output      logic [WIDTH-1:0] threshold,
    output      logic [COUNT_W-1:0] ties,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    function automatic int unsigned digit(input int unsigned level);
        return (DIGITS >> (4 * (LEVELS - 1 - level))) & 15;
    endfunction
    function automatic int unsigned cut(input int unsigned level);  // bits of the key down to this level
        cut = 0;
        for (int unsigned i = 0; i <= level; i++) cut = cut + digit(i);
    endfunction
    function automatic int unsigned steps();  // of the longest search
        steps = 0;
        for (int unsigned i = 0; i < LEVELS; i++) steps = steps + (1 << digit(i));
    endfunction
    if (LEVELS < 1 || LEVELS > 4 || cut(LEVELS - 1) != WIDTH)
        $error("vp_token_drop_histogram: DIGITS %h of %0d LEVELS must add up to WIDTH %0d", DIGITS, LEVELS, WIDTH);
    localparam int unsigned SPAN = steps() + 4 * LEVELS + 2;
    localparam int unsigned SPAN_W = $clog2(SPAN + 1);
    localparam int unsigned LEVEL_W = vp_pkg::width(LEVELS);

    // COUNTING takes keys, DRAINING lets the last be counted, SEARCHING walks down, WAITING lets an early find wait, so that time tells
    // nothing of the keys, HOLDING offers the result, SWEEPING clears. key_q addresses the bins in all of them, key_later_q[i] is
    // key_q of i cycles ago.
    typedef enum logic [2:0] {SWEEPING, COUNTING, DRAINING, SEARCHING, WAITING, HOLDING} state_t;
    state_t state_q;
    logic [WIDTH-1:0] key_q, key_later_q[1:4], step, lower;
    logic [LEVEL_W-1:0] level_q;
    logic [2:0] add_q;               // key_q, and those of one and two cycles ago, are counted
    logic [2:1] sweep_q;             // those of one and two cycles ago are cleared
    logic [3:1] look_q;              // those of one to three cycles ago are looked at
    logic idle_q;
    logic [COUNT_W-1:0] count_q;     // of three cycles ago
    logic [COUNT_W:0] rest_q;        // keys still to pass, less one, after the bin of four cycles ago
    logic [COUNT_W:0] before_q;      // and before that bin, which is what rest_q goes back to from below 0
    logic [SPAN_W:0] timer_q;        // of the longest search; below 0 behind it
    logic [LEVELS-1:0][COUNT_W-1:0] counts;  // of two cycles ago
    wire logic sweep = state_q == SWEEPING;
    wire logic search = state_q == SEARCHING;
    wire logic found = rest_q[COUNT_W];
    wire logic last_level = level_q == LEVEL_W'(LEVELS - 1);
    wire logic leave = out_valid && out_ready;

    // Per level: the place of its digit in the key, and the ones below it.
    always_comb begin
        step  = sweep ? WIDTH'(1) : '0;
        lower = '0;
        for (int unsigned l = 0; l < LEVELS; l++) begin
            if (search && level_q == LEVEL_W'(l)) begin
                step  = WIDTH'(1) << (WIDTH - cut(l));
                lower = (WIDTH'(1) << (WIDTH - cut(l))) - 1'b1;
            end
        end
    end
    always_ff @(posedge clk) begin
        if (!rst_n) key_q <= '1;
        else if (in_valid) key_q <= in_key;
        else if (found) key_q <= key_later_q[4] | lower;
        else if (state_q == DRAINING || leave) key_q <= '1;
        else if (sweep || search) key_q <= key_q - step;
        key_later_q[1] <= key_q;
        for (int unsigned i = 2; i <= 4; i++) key_later_q[i] <= key_later_q[i-1];
    end

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            state_q  <= SWEEPING;
            level_q  <= '0;
            add_q    <= '0;
            sweep_q  <= '0;
            look_q   <= '0;
            idle_q   <= 1'b0;
        end else begin
            add_q   <= {add_q[1:0], in_valid};
            sweep_q <= {sweep_q[1], sweep};
            look_q  <= found ? '0 : {look_q[2:1], search};
            idle_q  <= sweep && key_q == '0;
            case (state_q)
                SWEEPING:  if (key_q == '0) state_q <= COUNTING;
                COUNTING:  if (in_valid && in_last) state_q <= DRAINING;
                DRAINING:  if (add_q == '0) state_q <= SEARCHING;
                SEARCHING: if (found && last_level) state_q <= timer_q[SPAN_W] ? HOLDING : WAITING;
                WAITING:   if (timer_q[SPAN_W]) state_q <= HOLDING;
                default:   if (leave) state_q <= SWEEPING;
            endcase
            if (!search) level_q <= '0;
            else if (found && !last_level) level_q <= level_q + 1'b1;
        end
    end

    always_ff @(posedge clk) begin
        timer_q <= state_q == COUNTING ? (SPAN_W + 1)'(SPAN) : timer_q - 1'b1;
    end

    // The bins: read from the cycle of key_q on, written two cycles later, or cleared. A key whose bin is under way
    // from one of the two before it counts on from there.
    for (genvar l = 0; l < LEVELS; l++) begin : g_level
        localparam int unsigned B = cut(l);
        wire logic [B-1:0] bin = key_q[WIDTH-1-:B];
        wire logic [B-1:0] write_bin = key_later_q[2][WIDTH-1-:B];
        logic [1:0] from1_q, from2_q;     // bin is that of the key before, or of the one before that
        logic [2:1][COUNT_W-1:0] sum_q;   // of the key before, and of the one before that
        wire logic [COUNT_W-1:0] old = from2_q[0] ? sum_q[1] : from2_q[1] ? sum_q[2] : counts[l];
        wire logic [COUNT_W-1:0] sum = (sweep_q[2] ? '0 : old) + COUNT_W'(!sweep_q[2]);
        always_ff @(posedge clk) begin
            from1_q <= {add_q[2] && bin == write_bin, add_q[1] && bin == key_later_q[1][WIDTH-1-:B]};
            from2_q <= from1_q;
            sum_q   <= {sum_q[1], sum};
        end
        if (B <= 7) begin : g_lutram
            vp_ram #(.DEPTH(1 << B), .WIDTH(COUNT_W), .STYLE("distributed"), .READ_LATENCY(2)) ram (
                .clk, .we(add_q[2] || sweep_q[2]), .waddr(write_bin), .wdata(sum),
                .re(2'b11), .zero(1'b0), .raddr(bin), .rdata(counts[l])
            );
        end else begin : g_block
            vp_ram #(.DEPTH(1 << B), .WIDTH(COUNT_W), .STYLE("block"), .READ_LATENCY(2)) ram (
                .clk, .we(add_q[2] || sweep_q[2]), .waddr(write_bin), .wdata(sum),
                .re(2'b11), .zero(1'b0), .raddr(bin), .rdata(counts[l])
            );
        end
    end

    always_ff @(posedge clk) begin
        count_q <= counts[level_q];
        if (!rst_n || state_q == COUNTING) rest_q <= (COUNT_W + 1)'(keep);
        else if (found) rest_q <= before_q;
        else if (look_q[3]) rest_q <= rest_q - (COUNT_W + 1)'(count_q);
        before_q <= rest_q;
    end
    assign idle      = idle_q;
    assign threshold = key_q;
    assign ties      = rest_q[COUNT_W-1:0];
    assign out_valid = state_q == HOLDING;
endmodule

`default_nettype wire
