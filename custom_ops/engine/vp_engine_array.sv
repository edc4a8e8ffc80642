// The ways into and out of a matrix unit on which several layers of an engine run, group of rows by group of rows. Each port, a layer,
// has a FIFO before the unit and one behind it, for its rows and for what becomes of them; the arbiter (vp_engine_arbiter) says whose
// group is next, and the results leave by the same port, in order. To the unit a group is a frame: its tag says which matrix, and how many
// rows. Beats of a result are kept with as many bits an element as the port has (PORT_BITS); the unit has clipped them.
`default_nettype none

module vp_engine_array #(
    int unsigned PORTS     = 2,
    int unsigned ENCODERS  = 2,
    int unsigned FRAMES    = 4,   // whose tags wait at a port
    int unsigned GROUPS    = 8,   // tags of groups
    int unsigned BEAT_W    = 6,   // of the beats of a group, and of places
    int unsigned COUNT_W   = 4,   // of a frame's groups
    int unsigned HELD      = 2,   // groups in the unit's row buffers at most
    int unsigned IN_BITS   = 32,  // of a beat of rows
    int unsigned OUT_ELEMS = 4, OUT_BITS = 16,  // of a beat of results, as the unit makes it
    parameter logic [PORTS*32-1:0] PORT_BITS = {PORTS{32'd16}}, IN_DEPTHS = {PORTS{32'd8}}, OUT_DEPTHS = {PORTS{32'd8}},  // port 0 lowest
    parameter logic [PORTS*ENCODERS*288-1:0] SHAPES = '0,  // of the arbiter
    bit          LOADED    = 1'b0,  // these come through the load chain
    parameter    UNIT      = "",
    localparam int unsigned IN_PADDED = (IN_BITS + 7) / 8 * 8,
    localparam int unsigned OUT_PADDED = (OUT_ELEMS * OUT_BITS + 7) / 8 * 8,
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS),
    localparam int unsigned GROUP_W = vp_pkg::width(GROUPS)
) (
    input  wire logic                        clk, rst_n,
    input  wire logic [33:0]                 load_in,
    output      logic [33:0]                 load_out,
    input  wire logic [TAG_W-1:0]            encoder,  // of the next frame
    input  wire logic                        encoder_valid,
    output      logic                        encoder_ready,
    input  wire logic [PORTS*IN_PADDED-1:0]  in_tdata,   // port 0 lowest
    input  wire logic [PORTS-1:0]            in_tvalid,
    output      logic [PORTS-1:0]            in_tready,
    output      logic [PORTS*OUT_PADDED-1:0] out_tdata,  // port 0 lowest, each in the low bits of its part
    output      logic [PORTS-1:0]            out_tvalid,
    input  wire logic [PORTS-1:0]            out_tready,
    // the unit
    output      logic [IN_PADDED-1:0]        rows_tdata,
    output      logic                        rows_tvalid,
    input  wire logic                        rows_tready,
    output      logic [GROUP_W-1:0]          group,
    output      logic                        group_valid,
    input  wire logic                        freed,      // a row buffer is
    input  wire logic [OUT_PADDED-1:0]       results_tdata,
    input  wire logic                        results_tvalid,
    output      logic                        results_tready
);
    localparam int unsigned NEAR = 6;      // beats of a group before its end at which the next one is chosen
    localparam int unsigned UNDER_WAY = 15;  // groups whose results have not left the unit: more than it holds

    // --- rows ---
    logic [PORTS-1:0][IN_BITS-1:0] waiting;
    logic [PORTS-1:0] waits, moves, came, gone, port, fed_q;
    logic taken, ready, feeding_q, order_room;
    logic [GROUP_W-1:0] tag;
    logic [BEAT_W-1:0] beats, results, left_q;  // left_q: after this one
    for (genvar p = 0; p < PORTS; p++) begin : g_in
        vp_fifo #(.WIDTH(IN_BITS), .DEPTH(IN_DEPTHS[p*32+:32])) rows (
            .clk, .rst_n, .in_data(in_tdata[p*IN_PADDED+:IN_BITS]), .in_valid(in_tvalid[p]), .in_ready(in_tready[p]),
            .out_data(waiting[p]), .out_valid(waits[p]), .out_ready(moves[p])
        );
    end
    assign came = in_tvalid & in_tready;
    assign gone = out_tvalid & out_tready;

    // A group that was chosen waits here until the one before it is in the unit.
    logic next_q;
    logic [PORTS-1:0] next_port_q;
    logic [BEAT_W-1:0] next_beats_q;
    logic [IN_BITS-1:0] chosen, row;
    wire logic chosen_valid = feeding_q && |(fed_q & waits);
    wire logic feed = chosen_valid && ready;
    wire logic fed = feed && left_q == '0;
    wire logic start = next_q && (!feeding_q || fed);
    vp_engine_arbiter #(
        .PORTS(PORTS), .ENCODERS(ENCODERS), .FRAMES(FRAMES), .GROUP_W(GROUP_W), .BEAT_W(BEAT_W), .COUNT_W(COUNT_W), .HELD(HELD), .SHAPES(SHAPES),
        .ROOMS(OUT_DEPTHS), .LOADED(LOADED), .UNIT(UNIT)
    ) arbiter (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready, .came, .gone, .freed,
        .want(order_room && !next_q && (!feeding_q || left_q < BEAT_W'(NEAR))), .taken, .port, .group(tag), .beats, .results
    );
    always_ff @(posedge clk) begin
        if (!rst_n) {next_q, feeding_q} <= '0;
        else begin
            next_q    <= taken || (next_q && !start);
            feeding_q <= start || (feeding_q && !fed);
        end
    end
    always_ff @(posedge clk) begin
        if (taken) {next_port_q, next_beats_q} <= {port, beats};
        if (start) {fed_q, left_q} <= {next_port_q, next_beats_q - 1'b1};
        else if (feed) left_q <= left_q - 1'b1;
    end
    always_comb begin
        chosen = '0;
        for (int unsigned p = 0; p < PORTS; p++) chosen |= waiting[p] & {IN_BITS{fed_q[p]}};
    end
    assign moves = fed_q & {PORTS{feeding_q && ready}};
    vp_stage #(.WIDTH(IN_BITS)) to_unit (
        .clk, .rst_n, .in_data(chosen), .in_valid(chosen_valid), .in_ready(ready),
        .out_data(row), .out_valid(rows_tvalid), .out_ready(rows_tready)
    );
    assign rows_tdata = IN_PADDED'(row);
    assign {group, group_valid} = {tag, taken};

    // --- results ---
    logic [PORTS-1:0] next_out, out_q, put_q, put_room;
    logic [BEAT_W-1:0] next_results, out_left_q;
    logic order_valid, passing_q;
    logic [OUT_ELEMS*OUT_BITS-1:0] put_data_q;
    wire logic put = passing_q && results_tvalid;
    wire logic put_last = put && out_left_q == '0;
    wire logic order_ready = !passing_q || put_last;
    vp_fifo #(.WIDTH(PORTS + BEAT_W), .DEPTH(UNDER_WAY), .STYLE("distributed")) order (
        .clk, .rst_n, .in_data({port, results}), .in_valid(taken), .in_ready(order_room),
        .out_data({next_out, next_results}), .out_valid(order_valid), .out_ready(order_ready)
    );
    assign results_tready = passing_q;
    always_ff @(posedge clk) begin
        if (!rst_n) {passing_q, put_q} <= '0;
        else begin
            passing_q <= order_ready ? order_valid : passing_q;
            put_q     <= out_q & {PORTS{put}};
        end
    end
    always_ff @(posedge clk) begin
        if (order_ready) {out_q, out_left_q} <= {next_out, next_results - 1'b1};
        else if (put) out_left_q <= out_left_q - 1'b1;
        put_data_q <= results_tdata[OUT_ELEMS*OUT_BITS-1:0];
    end
    for (genvar p = 0; p < PORTS; p++) begin : g_out
        localparam int unsigned BITS = PORT_BITS[p*32+:32];
        logic [OUT_ELEMS*BITS-1:0] codes, y;
        for (genvar i = 0; i < OUT_ELEMS; i++) begin : g_code
            assign codes[i*BITS+:BITS] = put_data_q[i*OUT_BITS+:BITS];
        end
        vp_fifo #(.WIDTH(OUT_ELEMS * BITS), .DEPTH(OUT_DEPTHS[p*32+:32])) made (
            .clk, .rst_n, .in_data(codes), .in_valid(put_q[p]), .in_ready(put_room[p]),
            .out_data(y), .out_valid(out_tvalid[p]), .out_ready(out_tready[p])
        );
        assign out_tdata[p*OUT_PADDED+:OUT_PADDED] = OUT_PADDED'(y);
    end
`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && |(put_q & ~put_room)) $fatal(1, "vp_engine_array: a result found no place");
        if (rst_n && taken && !order_room) $fatal(1, "vp_engine_array: a group was lost");
    end
`endif
endmodule

`default_nettype wire
