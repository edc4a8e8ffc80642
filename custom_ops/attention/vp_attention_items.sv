// Which item (a query of a head) a phase of attention works on: items of a frame query by query, heads ascending, frames one after
// another. An item starts where go says that all it needs is there, runs its steps without a stop, and is followed at once by the next
// one that may start. SHAPES has FIELDS numbers of each encoder: the steps of an item first, before the last LATER ones its heads and queries,
// each less 2; the others are those of the phase.
`default_nettype none

module vp_attention_items #(
    int unsigned ENCODERS = 1,
    int unsigned STEPS    = 17,  // at most, as QUERIES and HEADS
    int unsigned QUERIES  = 17,
    int unsigned HEADS    = 1,
    int unsigned FIELDS   = 3, LATER = 0,
    parameter logic [ENCODERS*FIELDS*32-1:0] SHAPES = '0,
    bit          LOADED   = 1'b0,  // they come through the load chain
    parameter    FILE     = "",
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic                     clk, rst_n,
    input  wire logic [33:0]              load_in,
    output      logic [33:0]              load_out,
    input  wire logic [TAG_W-1:0]         encoder,    // of the next frame
    input  wire logic                     encoder_valid,
    output      logic                     encoder_ready,
    input  wire logic                     go,         // the next item may start
    output      logic                     start,      // ... and does
    output      logic [FIELDS-1:0][31:0]  next,       // its numbers, the last one lowest
    output      logic                     first,      // it is the first of its frame
    output      logic                     first_row,  // it is of the frame's first query
    output      logic                     frame_ends, // it is the last of its frame
    output      logic                     run,        // a step
    output      logic                     last,       // ... the item's last one
    output      logic                     row_end,    // the item is the last of its query
    output      logic                     frame_end,  // ... of its frame
    output      logic [TAG_W-1:0]         of          // its encoder
);
    localparam int unsigned STEP_W = vp_pkg::width(STEPS);
    logic [TAG_W-1:0] next_of;
    logic [STEP_W:0] steps_q;
    logic known, last_head, last_query;
    logic passed_q;  // the frame's last item started a cycle ago: next still is of that frame
    wire logic fresh = ENCODERS == 1 || !passed_q;  // a cycle passes before items of another frame
    assign start      = (!run || last) && fresh && go;
    assign frame_ends = last_head && last_query;

    vp_engine_table #(.ENCODERS(ENCODERS), .FIELDS(FIELDS), .VALUES(SHAPES), .LOADED(LOADED), .FILE(FILE)) shape_of (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready,
        .value(next), .of(next_of), .value_valid(known), .value_ready(passed_q)
    );
    vp_sized_counter #(.MOST(STEPS)) steps (.clk, .rst_n, .less_2(steps_q), .step(run), .count(), .last);
    vp_sized_counter #(.MOST(HEADS)) heads (
        .clk, .rst_n, .less_2((vp_pkg::width(HEADS) + 1)'(next[LATER+1])), .step(start), .count(), .last(last_head)
    );
    vp_sized_counter #(.MOST(QUERIES)) rows (
        .clk, .rst_n, .less_2((vp_pkg::width(QUERIES) + 1)'(next[LATER])), .step(start && last_head), .count(), .last(last_query)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            run       <= 1'b0;
            passed_q  <= 1'b0;
            first     <= 1'b1;
            first_row <= 1'b1;
        end else begin
            run      <= start || (run && !last);
            passed_q <= start && frame_ends;
            if (start) first <= frame_ends;
            if (start && last_head) first_row <= last_query;
        end
        if (start) begin
            steps_q   <= (STEP_W + 1)'(next[FIELDS-1]);
            of        <= next_of;
            row_end   <= last_head;
            frame_end <= frame_ends;
        end
    end

`ifdef VERILATOR
    // Every phase gets a frame's encoder at once, and what else an item needs takes longer.
    always_ff @(posedge clk) begin
        if (rst_n && start && !known) $fatal(1, "vp_attention_items: an item of an unknown frame starts");
    end
`endif
endmodule

`default_nettype wire
