// Sparse-block matrix unit: Y = X W + bias, requantised or raw. X has FRAME_ROWS rows of FRAME_MW elements a frame,
// W is FRAME_MW x MH in BLOCK x BLOCK blocks of which only the kept ones are stored. TOKENS rows share each
// weight word, LANES lists of kept blocks run at once, SIMD x PE products of a block a cycle:
//   ceil(FRAME_ROWS / TOKENS) x (entries of the fullest lane) x ENTRY_STEPS cycles a frame.
// A program entry is a block, or some of its rows, and PE of its outputs.
// Which blocks exist is ROM contents (programs of the lanes and of the drain, weights), as much as
// the memories hold; nothing here depends on the mask. ROMs are never so short that a synthesis tool could
// prove things from a handful of words; their ends are flags in the words, so that every address counts as
// reachable.
// With W_STYLE "ultra" the weights are not ROM: they come through the load chain before the first frame (vp_load_hop);
// whoever feeds the unit waits for that. With LOADED all of the unit's contents do, with neither the chain passes by.
// Several ENCODERS share a unit: each frame is that of its encoder, which is known before it (vp_engine_tags), and has its rows,
// sides, shift and contents, which begin at its STARTS of the memories. The unit is
// made for the largest of each. Groups hand their encoder on: load, sequencer, drain.
`default_nettype none

module vp_mvau #(
    // frames: rows, elements of a row, and outputs, each the largest of the encoders'
    int unsigned ENCODERS = 1, ROWS = 5, MW = 16, MH = 16,
    // folding; steps of a program entry are BLOCK / SIMD or less
    int unsigned BLOCK = 8, SIMD = 4, PE = 4, TOKENS = 2, LANES = 2, ENTRY_STEPS = 2,
    // elements of a beat; outputs of a token, and tokens, that the drain handles a step
    int unsigned IN_WIDTH = 4, OUT_WIDTH = 4, DRAIN_WIDTH = 4, ROWS_PER_STEP = 1,
    // numbers; shifts are SHIFT - SPAN to SHIFT
    int unsigned X_BITS = 8, W_BITS = 8, ACC_BITS = 24, BIAS_BITS = 24, OUT_BITS = 8, MULT_BITS = 17, SHIFT = 16, SPAN = 0,
    bit          X_SIGNED = 1'b1, OUT_SIGNED = 1'b1, REQUANT = 1'b1,
    // by encoder: shape_t of vp_mvau_load, of vp_mvau_drain, and where contents begin
    parameter logic [ENCODERS*128-1:0] LOAD_SHAPES = '0,
    parameter logic [ENCODERS*160-1:0] DRAIN_SHAPES = '0,
    parameter logic [ENCODERS*32-1:0] PROGRAM_STARTS = '0, WEIGHT_STARTS = '0, DRAIN_STARTS = '0,
    // whether encoders have outputs of fewer bits than OUT_BITS, and by encoder how many fewer: they are clipped
    bit          CLIPS = 1'b0,
    parameter logic [ENCODERS*32-1:0] FEWER_BITS = '0,
    // who feeds the unit frames of a group each has some credits, at most one for each row buffer: encoder_ready gives one back
    bit          CREDITS = 1'b0,
    // how products are made (see vp_mac): cycles from the operands to their sum; parts of a weight word, a bank and a file each
    parameter    MAC_STYLE = "portable",
    int unsigned MAC_LATENCY = 6, MAC_CHAIN = 1, MAC_TOKENS = 1, MAC_OUTPUTS = 1,
    // the last LUT_LANES lanes make products in LUTs, with parts of as many elements; the faster kind waits for the other one
    int unsigned LUT_LANES = 0, LUT_LATENCY = 6,
    // row memories: elements of a word, words of a row, cycles from a step to its elements at the arrays
    int unsigned X_ELEMS = 4, X_WORDS = 4, X_CYCLES = 3,
    // buffers of rows, and banks of results: a power of two, of 2 or more
    int unsigned BUFFERS = 2,
    // result banks: outputs of a word, words of a token group, cycles from an address of the drain to its values
    int unsigned R_ELEMS = 4, R_WORDS = 4, R_CYCLES = 3,
    // weights: words, one a step, and cycles of a read; program of the lanes: entries, and those of a ROM word
    int unsigned W_WORDS = 32, W_LATENCY = 1, P_WORDS = 32, P_PER = 1,
    // entries of the drain's program; words of biases and multipliers, for DRAIN_WIDTH outputs each
    int unsigned C_WORDS = 32, K_WORDS = 8,
    parameter    W_FILE = "", P_FILE = "", C_FILE = "", K_FILE = "",
    // ... of them all, and of the rows that are put in order after the drain
    parameter    X_STYLE = "auto", R_STYLE = "auto", W_STYLE = "auto", P_STYLE = "auto", C_STYLE = "auto", K_STYLE = "auto", O_STYLE = "auto",
    // all contents come through the load chain; of files from which simulations fill tables
    bit          LOADED = 1'b0,
    parameter    UNIT = "",
    localparam int unsigned IN_BYTES = (IN_WIDTH * X_BITS + 7) / 8,
    localparam int unsigned OUT_BYTES = (OUT_WIDTH * OUT_BITS + 7) / 8
) (
    input  wire logic                   clk, rst_n,
    input  wire logic [8*IN_BYTES-1:0]  in0_tdata,
    input  wire logic                   in0_tvalid,
    output      logic                   in0_tready,
    output      logic [8*OUT_BYTES-1:0] out0_tdata,
    output      logic                   out0_tvalid,
    input  wire logic                   out0_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic                   encoder_valid,
    output      logic                   encoder_ready,
    input  wire logic [33:0]            load_in,
    output      logic [33:0]            load_out
);
    localparam int unsigned BUFFER_W = $clog2(BUFFERS);
    localparam int unsigned X_ADDR_W = BUFFER_W + vp_pkg::width(X_WORDS);
    localparam int unsigned X_INDEX_W = X_ADDR_W + $clog2(X_ELEMS / SIMD);
    localparam int unsigned INDEX_W = X_INDEX_W - BUFFER_W;  // in a buffer
    localparam int unsigned W_ADDR_W = vp_pkg::width(W_WORDS);
    localparam int unsigned LANE_W = PE * SIMD * W_BITS;
    localparam bit W_LOADED = LOADED || W_STYLE == "ultra";

    if (BLOCK % SIMD != 0 || BLOCK % PE != 0 || BLOCK / SIMD % ENTRY_STEPS != 0)
        $error("vp_mvau: SIMD %0d and PE %0d must divide BLOCK %0d, ENTRY_STEPS %0d BLOCK / SIMD", SIMD, PE, BLOCK, ENTRY_STEPS);
    if (X_ELEMS % IN_WIDTH != 0 || X_ELEMS % SIMD != 0 || R_ELEMS % PE != 0 || R_ELEMS % DRAIN_WIDTH != 0
        || OUT_WIDTH % DRAIN_WIDTH != 0 || MH % DRAIN_WIDTH != 0 || BLOCK % R_ELEMS != 0 || MH % OUT_WIDTH != 0)
        $error("vp_mvau: IN_WIDTH %0d, OUT_WIDTH %0d or DRAIN_WIDTH %0d does not fit SIMD %0d, PE %0d, BLOCK %0d, MH %0d",
               IN_WIDTH, OUT_WIDTH, DRAIN_WIDTH, SIMD, PE, BLOCK, MH);

    logic [3:1][33:0] chain;

    // --- input ---
    logic [vp_pkg::width(ENCODERS)-1:0] group, claim_group;
    logic group_valid, group_ready;
    logic [IN_WIDTH*X_BITS-1:0] in_data;
    logic in_valid, in_ready;
    vp_skid #(.WIDTH(IN_WIDTH * X_BITS)) in_skid (
        .clk, .rst_n, .in_data(in0_tdata[IN_WIDTH*X_BITS-1:0]),
        .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(in_data), .out_valid(in_valid), .out_ready(in_ready)
    );
    logic [vp_pkg::width(ENCODERS)-1:0] frame;
    logic frame_valid, frame_ready;
    if (CREDITS) begin : g_credits
        logic room;
        vp_fifo #(.WIDTH(vp_pkg::width(ENCODERS)), .DEPTH(BUFFERS), .STYLE("distributed")) frames (
            .clk, .rst_n, .in_data(encoder), .in_valid(encoder_valid), .in_ready(room),
            .out_data(frame), .out_valid(frame_valid), .out_ready(frame_ready)
        );
        assign encoder_ready = |free;
`ifdef VERILATOR
        always_ff @(posedge clk) if (rst_n && encoder_valid && !room) $fatal(1, "vp_mvau: a frame came without a credit");
`endif
    end else begin : g_handshake
        assign {frame, frame_valid, encoder_ready} = {encoder, encoder_valid, frame_ready};
    end
    logic [TOKENS-1:0] x_we;
    logic [X_ADDR_W-1:0] x_waddr;
    logic [X_ELEMS*X_BITS-1:0] x_wdata;
    logic [BUFFERS-1:0] full, free, busy, claim;
    vp_mvau_load #(
        .ENCODERS(ENCODERS), .ROWS(ROWS), .ROW_ELEMS(MW), .TOKENS(TOKENS), .IN_WIDTH(IN_WIDTH),
        .X_BITS(X_BITS), .X_ELEMS(X_ELEMS), .X_WORDS(X_WORDS), .BUFFERS(BUFFERS), .SHAPES(LOAD_SHAPES), .LOADED(LOADED), .FILE({UNIT, "_load_shapes.fill"})
    ) load (
        .clk, .rst_n, .load_in, .load_out(chain[1]), .encoder(frame), .encoder_valid(frame_valid), .encoder_ready(frame_ready), .in_data, .in_valid, .in_ready, .group, .group_valid, .group_ready,
        .we(x_we), .waddr(x_waddr), .wdata(x_wdata), .full, .free
    );

    // --- lanes in lock-step ---
    logic [W_ADDR_W-1:0] w_addr;
    logic fetch_start, fetch_end;
    logic [BUFFER_W-1:0] fetch_bank, step_bank;
    logic [LANES-1:0] fetch_first, fetch_last;
    logic [LANES*INDEX_W-1:0] fetch_word;
    vp_mvau_sequence #(
        .ENCODERS(ENCODERS), .LANES(LANES), .ENTRIES(P_WORDS), .PER(P_PER), .STEPS(ENTRY_STEPS), .W_WORDS(W_WORDS),
        .BITS(INDEX_W), .BUFFERS(BUFFERS), .FILE(P_FILE), .STYLE(P_STYLE), .P_STARTS(PROGRAM_STARTS), .W_STARTS(WEIGHT_STARTS), .LOADED(LOADED),
        .UNIT(UNIT)
    ) sequence_i (
        .clk, .rst_n, .load_in(chain[1]), .load_out(chain[2]), .group, .group_valid, .group_ready, .full, .busy, .claim, .claim_group, .free, .w_addr,
        .step_start(fetch_start), .step_end(fetch_end), .step_bank(fetch_bank), .step_first(fetch_first),
        .step_last(fetch_last), .step_word(fetch_word)
    );

    // Rows take X_CYCLES from the step to the array, weights W_LATENCY: what takes less waits. A register more keeps rows that
    // are written behind the steps that read what was there before. What is above does not know it.
    localparam int unsigned X_WAIT = W_LATENCY > X_CYCLES ? W_LATENCY - X_CYCLES : 0;
    localparam int unsigned W_WAIT = X_CYCLES > W_LATENCY ? X_CYCLES - W_LATENCY : 0;
    logic [TOKENS-1:0] lane_we;
    logic [X_ADDR_W-1:0] lane_waddr;
    logic [X_ELEMS*X_BITS-1:0] lane_wdata;
    logic step_start, step_end;
    logic [LANES-1:0] step_first, step_last;
    logic [LANES*INDEX_W-1:0] step_word;
    logic [W_ADDR_W-1:0] read_addr;
    vp_delay #(.WIDTH(TOKENS + X_ADDR_W + X_ELEMS * X_BITS), .LENGTH(1)) rows_later (
        .clk, .rst_n(1'b1), .in({x_we, x_waddr, x_wdata}), .out({lane_we, lane_waddr, lane_wdata})
    );
    vp_delay #(.WIDTH(2 + BUFFER_W + LANES * (INDEX_W + 2)), .LENGTH(X_WAIT)) steps_later (
        .clk, .rst_n, .in({fetch_start, fetch_end, fetch_bank, fetch_first, fetch_last, fetch_word}),
        .out({step_start, step_end, step_bank, step_first, step_last, step_word})
    );
    vp_delay #(.WIDTH(W_ADDR_W), .LENGTH(W_WAIT)) weights_later (.clk, .rst_n(1'b1), .in(w_addr), .out(read_addr));

    // Weight banks, each read a cycle after the one before: file <two digits>_W_FILE where there are several.
    localparam int unsigned BANK_W = LANES * LANE_W / MAC_CHAIN;
    logic [LANES*LANE_W-1:0] weights;
    logic [MAC_CHAIN-1:0] load_we;
    logic [W_ADDR_W-1:0] load_addr;
    logic [BANK_W-1:0] load_data;
    for (genvar i = 0; i < MAC_CHAIN; i++) begin : g_bank
        localparam int unsigned PART = SIMD / MAC_CHAIN;  // elements of an output's weight row
        logic [W_ADDR_W-1:0] addr;
        if (i == 0) begin : g_first
            assign addr = read_addr;
        end else begin : g_later
            always_ff @(posedge clk) addr <= g_bank[i-1].addr;
        end
        logic [LANES*PE*PART*W_BITS-1:0] word;
        localparam BANK_FILE = {8'(48 + i / 10), 8'(48 + i % 10), "_", W_FILE};
        // The file's name depends on a constant: synthesis wants it where it is used.
        if (MAC_CHAIN == 1) begin : g_single
            vp_contents #(
                .LOADED(W_LOADED), .DEPTH(W_WORDS), .WIDTH(BANK_W), .FILE(W_FILE), .STYLE(W_STYLE), .READ_LATENCY(W_LATENCY)
            ) bank (
                .clk, .we(load_we[i]), .waddr(load_addr), .wdata(load_data), .en({W_LATENCY{1'b1}}), .addr, .data(word)
            );
        end else begin : g_part
            vp_contents #(
                .LOADED(W_LOADED), .DEPTH(W_WORDS), .WIDTH(BANK_W), .FILE(BANK_FILE), .STYLE(W_STYLE), .READ_LATENCY(W_LATENCY)
            ) bank (
                .clk, .we(load_we[i]), .waddr(load_addr), .wdata(load_data), .en({W_LATENCY{1'b1}}), .addr, .data(word)
            );
        end
        for (genvar p = 0; p < LANES * PE; p++) begin : g_row
            assign weights[(p*SIMD+i*PART)*W_BITS+:PART*W_BITS] = word[p*PART*W_BITS+:PART*W_BITS];
        end
    end

    vp_load_region #(.LOADED(W_LOADED), .BANKS(MAC_CHAIN), .DEPTH(W_WORDS), .WIDTH(BANK_W)) region (
        .clk, .rst_n, .load_in(chain[2]), .load_out(chain[3]), .we(load_we), .waddr(load_addr), .data(load_data),
        .filled()
    );

    logic [LANES-1:0] done;
    logic [LANES-1:0][BUFFER_W-1:0] done_bank;
    logic [BUFFER_W+vp_pkg::width(R_WORDS)-1:0] r_addr;
    logic [vp_pkg::width(TOKENS / ROWS_PER_STEP)-1:0] r_set;
    logic [vp_pkg::width(R_ELEMS / DRAIN_WIDTH)-1:0] r_sub;
    logic [LANES*ROWS_PER_STEP*DRAIN_WIDTH*ACC_BITS-1:0] r_value;
    logic [ROWS_PER_STEP*DRAIN_WIDTH*OUT_BITS-1:0] y_data;
    logic [vp_pkg::width(ROWS_PER_STEP)-1:0] y_last_row;
    logic y_end, y_valid, y_ready;
    for (genvar l = 0; l < LANES; l++) begin : g_lane
        localparam bit IN_LUTS = l >= LANES - LUT_LANES;
        localparam int unsigned OWN_LATENCY = IN_LUTS ? LUT_LATENCY : MAC_LATENCY;
        localparam int unsigned LATER = LUT_LANES == 0 ? 0 : (LUT_LATENCY > MAC_LATENCY ? LUT_LATENCY : MAC_LATENCY) - OWN_LATENCY;
        vp_mvau_lane #(
            .TOKENS(TOKENS), .SIMD(SIMD), .PE(PE), .X_BITS(X_BITS), .X_SIGNED(X_SIGNED), .W_BITS(W_BITS),
            .ACC_BITS(ACC_BITS), .X_ELEMS(X_ELEMS), .X_WORDS(X_WORDS), .R_ELEMS(R_ELEMS), .R_WORDS(R_WORDS),
            .DRAIN_WIDTH(DRAIN_WIDTH), .ROWS_PER_STEP(ROWS_PER_STEP), .X_CYCLES(X_CYCLES), .R_CYCLES(R_CYCLES),
            .X_STYLE(X_STYLE), .R_STYLE(R_STYLE), .MAC_STYLE(IN_LUTS ? "lut" : MAC_STYLE), .MAC_LATENCY(OWN_LATENCY), .MAC_CHAIN(MAC_CHAIN),
            .MAC_TOKENS(IN_LUTS ? 1 : MAC_TOKENS), .MAC_OUTPUTS(IN_LUTS ? 1 : MAC_OUTPUTS), .BUFFERS(BUFFERS), .MAC_LATER(LATER)
        ) lane (
            .clk, .rst_n, .x_we(lane_we), .x_waddr(lane_waddr), .x_wdata(lane_wdata),
            .step_index({step_bank, step_word[l*INDEX_W+:INDEX_W]}),
            .step_first(step_first[l]), .step_last(step_last[l]), .step_start, .step_end, .step_bank,
            .weights(weights[l*LANE_W+:LANE_W]), .done(done[l]), .done_bank(done_bank[l]),
            .c_addr(r_addr), .c_set(r_set), .c_sub(r_sub),
            .c_value(r_value[l*ROWS_PER_STEP*DRAIN_WIDTH*ACC_BITS+:ROWS_PER_STEP*DRAIN_WIDTH*ACC_BITS])
        );
    end

    // --- output ---
    vp_mvau_drain #(
        .ENCODERS(ENCODERS), .ROWS(ROWS), .TOKENS(TOKENS), .ROWS_PER_STEP(ROWS_PER_STEP), .LANES(LANES), .ENTRIES(C_WORDS),
        .CONSTANTS(K_WORDS), .DRAIN_WIDTH(DRAIN_WIDTH), .C_SUBS(R_ELEMS / DRAIN_WIDTH), .R_WORDS(R_WORDS), .R_CYCLES(R_CYCLES), .BUFFERS(BUFFERS),
        .ACC_BITS(ACC_BITS), .BIAS_BITS(BIAS_BITS), .OUT_BITS(OUT_BITS), .OUT_SIGNED(OUT_SIGNED),
        .REQUANT(REQUANT), .MULT_BITS(MULT_BITS), .SHIFT(SHIFT), .SPAN(SPAN),
        .CLIPS(CLIPS), .FEWER_BITS(FEWER_BITS), .STARTS(DRAIN_STARTS), .SHAPES(DRAIN_SHAPES), .LOADED(LOADED), .UNIT(UNIT),
        .PROGRAM_FILE(C_FILE), .PROGRAM_STYLE(C_STYLE), .CONSTANT_FILE(K_FILE), .CONSTANT_STYLE(K_STYLE)
    ) drain (
        .clk, .rst_n, .load_in(chain[3]), .load_out, .claim, .claim_group, .done(done[0]), .done_bank(done_bank[0]), .busy, .r_addr, .r_set, .r_sub, .r_value,
        .out_data(y_data), .out_end(y_end), .out_last_row(y_last_row), .out_valid(y_valid), .out_ready(y_ready)
    );

    logic [OUT_WIDTH*OUT_BITS-1:0] out_data;
    if (ROWS_PER_STEP > 1) begin : g_reorder
        vp_mvau_reorder #(
            .SEVERAL(ENCODERS > 1), .ROWS_PER_STEP(ROWS_PER_STEP), .WORDS(MH / DRAIN_WIDTH),
            .RATIO(OUT_WIDTH / DRAIN_WIDTH), .WIDTH(DRAIN_WIDTH * OUT_BITS), .STYLE(O_STYLE)
        ) reorder (
            .clk, .rst_n, .in_data(y_data), .in_end(y_end), .in_last_row(y_last_row), .in_valid(y_valid), .in_ready(y_ready),
            .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
    end else if (OUT_WIDTH > DRAIN_WIDTH) begin : g_widen
        logic [OUT_WIDTH*OUT_BITS-1:0] wide_data;
        logic wide_valid, wide_ready;
        vp_width #(.IN_ELEMS(DRAIN_WIDTH), .OUT_ELEMS(OUT_WIDTH), .ELEM_WIDTH(OUT_BITS)) width (
            .clk, .rst_n, .in_data(y_data), .in_valid(y_valid), .in_ready(y_ready),
            .out_data(wide_data), .out_valid(wide_valid), .out_ready(wide_ready)
        );
        vp_skid #(.WIDTH(OUT_WIDTH * OUT_BITS)) out_skid (
            .clk, .rst_n, .in_data(wide_data), .in_valid(wide_valid), .in_ready(wide_ready),
            .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
        );
    end else begin : g_direct
        assign out_data    = y_data;
        assign out0_tvalid = y_valid;
        assign y_ready     = out0_tready;
    end
    assign out0_tdata = (8 * OUT_BYTES)'(out_data);
endmodule

`default_nettype wire
