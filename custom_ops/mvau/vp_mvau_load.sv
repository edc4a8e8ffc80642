// Input stage of the sparse-block matrix unit: takes frames of as many rows and elements as their encoder has,
// IN_WIDTH elements a beat, and writes groups of TOKENS rows into double-buffered row memories of X_ELEMS
// elements a word, or as many as there are BUFFERS. A group never spans frames: the last one of a frame is closed when the frame ends,
// its missing rows keep old contents. full[b] says that buffer b holds a group, whose
// last word is written a cycle later; free empties it. The memories themselves are elsewhere (one copy a lane).
// The encoder of each group goes out at group, once, as soon as the group before has come whole and the encoder is known.
`default_nettype none

module vp_mvau_load #(
    int unsigned ENCODERS  = 1,
    int unsigned ROWS      = 5,   // most of a frame
    int unsigned ROW_ELEMS = 16,  // most of a row
    int unsigned TOKENS    = 2,
    int unsigned IN_WIDTH  = 4,
    int unsigned X_BITS    = 8,
    int unsigned X_ELEMS   = 4,
    int unsigned X_WORDS   = 4,
    int unsigned BUFFERS   = 2,   // of row groups, a power of two
    parameter logic [ENCODERS*128-1:0] SHAPES = '0,  // by encoder, see shape_t
    bit          LOADED    = 1'b0,  // SHAPES come through the load chain
    parameter    FILE      = "",
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS),
    localparam int unsigned BANK_W = $clog2(BUFFERS),
    localparam int unsigned X_ADDR_W = BANK_W + vp_pkg::width(X_WORDS)
) (
    input  wire logic                       clk, rst_n,
    input  wire logic [33:0]                load_in,
    output      logic [33:0]                load_out,
    input  wire logic [TAG_W-1:0]           encoder,     // of the next frame
    input  wire logic                       encoder_valid,
    output      logic                       encoder_ready,
    input  wire logic [IN_WIDTH*X_BITS-1:0] in_data,
    input  wire logic                       in_valid,
    output      logic                       in_ready,
    output      logic [TAG_W-1:0]           group,
    output      logic                       group_valid,
    input  wire logic                       group_ready,
    output      logic [TOKENS-1:0]          we,
    output      logic [X_ADDR_W-1:0]        waddr,
    output      logic [X_ELEMS*X_BITS-1:0]  wdata,
    output      logic [BUFFERS-1:0]         full,
    input  wire logic [BUFFERS-1:0]         free
);
    localparam int unsigned BEATS = ROW_ELEMS / IN_WIDTH;    // beats of a row
    localparam int unsigned GATHER = X_ELEMS / IN_WIDTH;     // beats of a memory word
    localparam int unsigned BEAT_W = vp_pkg::width(BEATS);
    localparam int unsigned ROW_W = vp_pkg::width(ROWS);
    localparam int unsigned GATHER_W = vp_pkg::width(GATHER);

    if (ROW_ELEMS % IN_WIDTH != 0 || X_ELEMS % IN_WIDTH != 0)
        $error("vp_mvau_load: IN_WIDTH %0d must divide the %0d elements of a row and X_ELEMS %0d", IN_WIDTH, ROW_ELEMS, X_ELEMS);

    typedef struct packed {
        logic [31:0] one_beat, next_to_last_beat;  // of a row
        logic [31:0] one_row, next_to_last_row;    // of the frame
    } shape_t;
    shape_t shape;
    logic known;  // the shape of the frame that comes

    logic [BEAT_W-1:0] beat_q;
    logic [ROW_W-1:0] row_q;
    logic [TOKENS-1:0] token_q;  // one hot
    logic [GATHER_W-1:0] gather_q;
    logic [X_ADDR_W-BANK_W-1:0] word_q;
    logic [BANK_W-1:0] bank_q;
    logic [BUFFERS-1:0] full_q;
    logic last_beat_q, last_row_q;
    logic said_q;  // the encoder of the group that comes has gone out

    assign group_valid = known && !said_q;
    assign in_ready = !full_q[bank_q] && (said_q || (known && group_ready));
    wire logic take = in_valid && in_ready;
    wire logic row_end = shape.one_beat[0] || last_beat_q;
    wire logic frame_end = row_end && (shape.one_row[0] || last_row_q);
    wire logic group_end = frame_end || (row_end && token_q[TOKENS-1]);
    wire logic word_end = row_end || gather_q == GATHER_W'(GATHER - 1);

    vp_engine_table #(.ENCODERS(ENCODERS), .FIELDS($bits(shape_t) / 32), .VALUES(SHAPES), .LOADED(LOADED), .FILE(FILE)) table_i (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready,
        .value(shape), .of(group), .value_valid(known), .value_ready(take && frame_end)
    );

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q      <= '0;
            last_beat_q <= 1'b0;
            row_q       <= '0;
            last_row_q  <= 1'b0;
            token_q     <= TOKENS'(1);
            gather_q    <= '0;
            word_q      <= '0;
            bank_q      <= '0;
            full_q      <= '0;
            said_q      <= 1'b0;
        end else begin
            full_q <= full_q & ~free;
            said_q <= !(take && group_end) && (said_q || (known && group_ready));
            if (take) begin
                beat_q      <= row_end ? '0 : beat_q + 1'b1;
                last_beat_q <= !row_end && beat_q == BEAT_W'(shape.next_to_last_beat);
                gather_q    <= word_end ? '0 : gather_q + 1'b1;
                if (word_end) word_q <= row_end ? '0 : word_q + 1'b1;
                if (row_end) begin
                    row_q      <= frame_end ? '0 : row_q + 1'b1;
                    last_row_q <= !frame_end && row_q == ROW_W'(shape.next_to_last_row);
                    token_q    <= group_end ? TOKENS'(1) : token_q << 1;
                end
                if (group_end) begin
                    full_q[bank_q] <= 1'b1;
                    bank_q         <= bank_q + 1'b1;
                end
            end
        end
    end

    assign full = full_q;
    always_ff @(posedge clk) begin
        if (!rst_n) we <= '0;
        else we <= token_q & {TOKENS{take && word_end}};
    end

    // A word that a row's end cuts short keeps old elements after it; only zero weights meet them.
    logic [X_ELEMS*X_BITS-1:0] word;
    always_ff @(posedge clk) begin
        waddr <= {bank_q, word_q};
        wdata <= word;
    end
    if (GATHER > 1) begin : g_gather
        logic [GATHER-2:0][IN_WIDTH*X_BITS-1:0] part_q;
        always_ff @(posedge clk) if (take) part_q[gather_q] <= in_data;
        always_comb begin
            word = {in_data, part_q};
            for (int unsigned i = 0; i < GATHER - 1; i++) begin
                if (gather_q == GATHER_W'(i)) word[i*IN_WIDTH*X_BITS+:IN_WIDTH*X_BITS] = in_data;
            end
        end
    end else begin : g_whole
        assign word = in_data;
    end
endmodule

`default_nettype wire
