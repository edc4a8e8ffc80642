// Says which group of rows the matrix unit of an array takes next. A port is a layer of the engine: its rows come in frames in the order
// of the tags (vp_engine_tags), each frame in groups of rows. A group may be taken once all of its beats are in the port's FIFO (came)
// and there is a place for each beat of its result in the FIFO behind the unit (gone: one left that). So a group that is taken never
// waits, neither for rows nor for whom they are for. Of the groups that may be taken the one of the lowest port is. A choice is made as
// late as it can be: while fewer than HELD groups are in the unit's row buffers (freed gives one back) and want says so.
// SHAPES has by port and encoder the numbers of a vp_engine_frame, whose steps are groups, then the tags of all groups but the last one,
// and of that; and likewise the beats of a group, and those of its result. ROOMS has the places of the FIFOs behind the unit.
`default_nettype none

module vp_engine_arbiter #(
    int unsigned PORTS    = 2,
    int unsigned ENCODERS = 2,
    int unsigned FRAMES   = 4,   // whose tags wait at a port
    int unsigned GROUP_W  = 3,   // of a group's tag
    int unsigned BEAT_W   = 6,   // of the beats of a group, and of places
    int unsigned COUNT_W  = 4,   // of a frame's groups
    int unsigned HELD     = 2,
    parameter logic [PORTS*ENCODERS*288-1:0] SHAPES = '0,  // port 0 lowest, of a port the first encoder
    parameter logic [PORTS*32-1:0] ROOMS = {PORTS{32'd16}},
    bit          LOADED   = 1'b0,  // SHAPES come through the load chain, port by port
    parameter    UNIT     = "",    // of files from which simulations fill them
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic               clk, rst_n,
    input  wire logic [33:0]        load_in,
    output      logic [33:0]        load_out,
    input  wire logic [TAG_W-1:0]   encoder,  // of the next frame
    input  wire logic               encoder_valid,
    output      logic               encoder_ready,
    input  wire logic [PORTS-1:0]   came, gone,
    input  wire logic               freed,
    input  wire logic               want,
    output      logic               taken,    // a group is, for a cycle
    output      logic [PORTS-1:0]   port,     // one hot
    output      logic [GROUP_W-1:0] group,    // its tag
    output      logic [BEAT_W-1:0]  beats, results
);
    localparam int unsigned HELD_W = $clog2(HELD + 1);
    localparam int unsigned SETTLE = 3;  // cycles after a choice in which what may be taken is not known yet

    logic [TAG_W-1:0] tag;
    logic [PORTS-1:0] copied, room;
    vp_fork #(.WIDTH(TAG_W), .NUM(PORTS)) tags (
        .clk, .rst_n, .in_data(encoder), .in_valid(encoder_valid), .in_ready(encoder_ready),
        .out_data(tag), .out_valid(copied), .out_ready(room)
    );

    // --- what may be taken ---
    typedef struct packed {
        logic [31:0] group, last_group;
        logic [31:0] beats, last_beats;
        logic [31:0] results, last_results;
    } shape_t;
    logic [PORTS-1:0] may_q, picked_q;
    logic [PORTS-1:0][GROUP_W-1:0] groups;
    logic [PORTS-1:0][BEAT_W-1:0] group_beats, group_results;
    logic [PORTS:0][33:0] chain;
    assign chain[0] = load_in;
    assign load_out = chain[PORTS];
    for (genvar p = 0; p < PORTS; p++) begin : g_port
        localparam logic [7:0] DIGIT = 8'h30 + 8'(p);  // of the port, in the name of its file
        logic [TAG_W-1:0] next;
        logic next_valid, next_ready, known, last;
        shape_t shape;
        logic [BEAT_W-1:0] there_q, free_q;  // beats that came, places that are free, less those of groups that were taken
        vp_fifo #(.WIDTH(TAG_W), .DEPTH(FRAMES), .STYLE("distributed")) waiting (
            .clk, .rst_n, .in_data(tag), .in_valid(copied[p]), .in_ready(room[p]),
            .out_data(next), .out_valid(next_valid), .out_ready(next_ready)
        );
        vp_engine_frame #(
            .ENCODERS(ENCODERS), .COUNT_W(COUNT_W), .FIELDS(6), .SHAPES(SHAPES[p*ENCODERS*288+:ENCODERS*288]),
            .LOADED(LOADED), .FILE({UNIT, "_groups_", DIGIT, ".fill"})
        ) frame (
            .clk, .rst_n, .load_in(chain[p]), .load_out(chain[p+1]), .encoder(next), .encoder_valid(next_valid), .encoder_ready(next_ready),
            .value(shape), .of(), .known, .step(picked_q[p]), .count(), .last
        );
        assign groups[p]        = GROUP_W'(last ? shape.last_group : shape.group);
        assign group_beats[p]   = BEAT_W'(last ? shape.last_beats : shape.beats);
        assign group_results[p] = BEAT_W'(last ? shape.last_results : shape.results);
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                there_q  <= '0;
                free_q   <= BEAT_W'(ROOMS[p*32+:32]);
                may_q[p] <= 1'b0;
            end else begin
                there_q  <= there_q + BEAT_W'(came[p]) - (picked_q[p] ? group_beats[p] : '0);
                free_q   <= free_q + BEAT_W'(gone[p]) - (picked_q[p] ? group_results[p] : '0);
                may_q[p] <= known && there_q >= group_beats[p] && free_q >= group_results[p];
            end
        end
    end

    // --- the choice ---
    logic [HELD_W-1:0] held_q;
    logic [SETTLE-1:0] settle_q;
    wire logic pick = want && held_q < HELD_W'(HELD) && settle_q == '0 && |may_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            held_q   <= '0;
            settle_q <= '0;
            picked_q <= '0;
            taken    <= 1'b0;
        end else begin
            held_q   <= held_q + HELD_W'(pick) - HELD_W'(freed);
            settle_q <= SETTLE'({settle_q, pick});
            picked_q <= pick ? may_q & ~(may_q - 1'b1) : '0;
            taken    <= |picked_q;
        end
    end
    logic [GROUP_W-1:0] its_group;
    logic [BEAT_W-1:0] its_beats, its_results;
    always_comb begin
        {its_group, its_beats, its_results} = '0;
        for (int unsigned p = 0; p < PORTS; p++) begin
            its_group   |= groups[p] & {GROUP_W{picked_q[p]}};
            its_beats   |= group_beats[p] & {BEAT_W{picked_q[p]}};
            its_results |= group_results[p] & {BEAT_W{picked_q[p]}};
        end
    end
    always_ff @(posedge clk) {port, group, beats, results} <= {picked_q, its_group, its_beats, its_results};
endmodule

`default_nettype wire
